"""One trace from producer to commit (P11): over a whole worker and a guard replica."""

import json

import pytest
from opentelemetry.trace import SpanContext

from schemas.record import SourceRecord
from tests.guards.scripted_guard import ScriptedGuard
from tests.guards.traced_guard import recorded, replica_guard, send
from tests.site import Site, event
from tests.workers.telemetry.recorded_tracing import RecordedTracing


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> RecordedTracing:
    return recorded(monkeypatch)


def traceparent(number: int, flags: str = "01") -> bytes:
    return f"00-{number + 1:032x}-{number + 1:016x}-{flags}".encode()


def ids(context: SpanContext | None) -> tuple[int, int]:
    assert context is not None
    return context.trace_id, context.span_id


def header_ids(record: SourceRecord) -> tuple[int, int]:
    (value,) = [value for name, value in record.headers if name == "traceparent"]
    _, trace_id, span_id, _ = (value or b"").decode().split("-")
    return int(trace_id, 16), int(span_id, 16)


def sources(site: Site) -> dict[tuple[int, int], int]:
    """Which number of ours stands at a partition and offset."""
    return {(record.partition, record.offset): int((record.key or b"")[1:]) for record in site.records(0)}


@pytest.mark.parametrize("mode", ["child", "link"])
def test_p11_every_outcome_leads_back_to_its_producer_s_span(site: Site, spans: RecordedTracing, mode: str) -> None:
    count = 30
    send(
        site,
        [
            (
                b"k%d" % i,
                event(f"e{i}", f"hello {i}") if i % 5 else b"{",
                [("traceparent", traceparent(i, "00" if i % 7 == 3 else "01"))],
            )
            for i in range(count)
        ],
    )
    worker = site.start(replica_guard(site), site.settings_with(telemetry={"process_span": mode}), spans)
    site.wait_for(count)
    assert worker.stop(20.0)

    numbers = sources(site)
    at_once = {i for i in range(count) if i % 7 != 3}
    sampled = at_once | {i for i in range(count) if i % 5 == 0}
    processes = {}
    for span in spans.finished("process "):
        at = span.attributes or {}
        number = numbers[int(str(at["messaging.destination.partition.id"])), int(str(at["messaging.kafka.offset"]))]
        processes[number] = span
        creation = span.parent if mode == "child" else span.links[0].context
        assert ids(creation) == (number + 1, number + 1)
    assert processes.keys() == sampled

    creates = {ids(span.context): span for span in spans.finished("create ")}
    parents = {ids(span.parent) for span in creates.values()}
    assert parents == {ids(span.context) for span in processes.values()}
    batches = {ids(span.context): span for span in spans.finished("chat ")}
    seen = set()
    for record in site.records(1):
        source = json.loads(record.value or b"")["source"]
        number = numbers[source["partition"], source["offset"]]
        seen.add(number)
        if number not in sampled:
            assert header_ids(record) == (number + 1, number + 1), "passed on as it came"
            continue
        create, process = creates[header_ids(record)], processes[number]
        assert ids(create.parent) == ids(process.context)
        batch = batches[ids(process.links[-1].context)]
        assert ids(process.context) in {ids(link.context) for link in batch.links}
        assert mode == "link" or header_ids(record)[0] == number + 1
    for record, letter in zip(site.records(2), site.dead_letters(), strict=True):
        number = numbers[letter.source.partition, letter.source.offset]
        seen.add(number)
        assert header_ids(record) == (number + 1, number + 1), "a dead letter keeps its record's own headers"
    assert seen == set(range(count))

    def linked(name: str) -> list[tuple[int, int]]:
        assert all(span.parent is None for span in spans.finished(name))
        return sorted(ids(link.context) for span in spans.finished(name) for link in span.links)

    own = {number: ids(span.context) for number, span in processes.items()}
    assert linked("poll ") == sorted(own.values())
    assert linked("parse") == sorted(own[number] for number in at_once if number % 5)
    assert linked("send ") == sorted(creates)
    assert linked("commit ") == sorted(own.values())


def test_p11_a_dead_letter_of_a_record_without_a_trace_carries_its_create_span(
    site: Site, spans: RecordedTracing
) -> None:
    send(site, [(b"k0", b"{", [])])
    worker = site.start(ScriptedGuard(), tracing=spans)
    site.wait_for(1)
    assert worker.stop(20.0)
    (record,) = site.records(2)
    (create,) = spans.finished("create ")
    assert header_ids(record) == ids(create.context)


@pytest.mark.parametrize(("slow_s", "traced"), [(1e-6, {"slow"}), (3600.0, set[str]())])
def test_p11_a_message_nobody_sampled_is_traced_once_it_was_slow(
    site: Site, spans: RecordedTracing, slow_s: float, traced: set[str]
) -> None:
    send(site, [(b"k0", event("e0", "hello"), [("traceparent", traceparent(0, "00"))])])
    worker = site.start(ScriptedGuard(), site.settings_with(telemetry={"slow_s": slow_s}), spans)
    site.wait_for(1)
    assert worker.stop(20.0)

    assert {(span.attributes or {})["moderation.sampled_for"] for span in spans.finished("process ")} == traced
