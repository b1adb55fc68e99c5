"""Ten thousand messages with batches, retries, a rebalance and bisection: each outcome leads to its producer (P11)."""

import json
from collections import Counter
from collections.abc import Sequence
from itertools import count

import pytest
from opentelemetry.trace import SpanContext

from pipelines.guard import GuardReply, GuardRequest
from schemas.errors import GuardUnavailableError
from schemas.record import SourceRecord
from tests.guards.traced_guard import ReplicaGuard, replica_guard
from tests.site import Site, event
from tests.workers.telemetry.recorded_tracing import RecordedTracing
from workers.serving import guard_replica

POISON, BAD = 501, 97  # one in so many breaks its batch, is no JSON
Ids = tuple[int, int]


class Unsteady:
    """A guard that is not there for every 50th call."""

    def __init__(self, guard: ReplicaGuard) -> None:
        self._guard = guard
        self._calls = count(1)

    async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply:
        """See `pipelines.guard.Guard`."""
        if next(self._calls) % 50 == 0:
            raise GuardUnavailableError("away")
        return await self._guard.judge(requests)


def ids(context: SpanContext | None) -> Ids:
    assert context is not None
    return context.trace_id, context.span_id


def header_ids(record: SourceRecord) -> Ids:
    _, trace_id, span_id, _ = (record.header("traceparent") or b"").decode().split("-")
    return int(trace_id, 16), int(span_id, 16)


def text_of(number: int) -> bytes:
    if number % BAD == 0:
        return b"{"
    return event(f"e{number}", f"raise {number}" if number % POISON == 0 else f"hello {number % 400}")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_p11_every_outcome_leads_back_to_its_producer_s_span(
    wide_site: Site, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    site, tracing = wide_site, RecordedTracing()
    monkeypatch.setattr(guard_replica, "start_tracing", lambda *_: tracing)
    monkeypatch.setattr(guard_replica, "configure_logging", lambda _: None)
    settings = site.settings_with(delivery={"chunk_size": 64, "max_attempts": 2})
    guard = Unsteady(replica_guard(site))

    def produce(first: int) -> None:
        numbers = range(first, first + count // 2)
        site.produce(
            [text_of(number) for number in numbers],
            lambda index: [("traceparent", f"00-{numbers[index] + 1:032x}-{numbers[index] + 1:016x}-01".encode())],
        )

    produce(0)
    first = site.start(guard, settings, tracing)
    site.wait_for(count // 4)
    second = site.start(guard, settings, tracing)  # joins in the middle
    produce(count // 2)
    site.wait_for(3 * count // 4)
    assert first.stop(30.0)  # leaves in the middle
    site.wait_for(count)
    assert second.stop(30.0)

    number_of = {}
    for record in site.records(0):
        number_of[record.partition, record.offset] = header_ids(record)[0] - 1
    spans = {ids(span.context): span for span in tracing.finished()}
    walked: Counter[int] = Counter()
    for record in site.records(1):
        source = json.loads(record.value or b"")["source"]
        number = number_of[source["partition"], source["offset"]]
        create = spans[header_ids(record)]
        process = spans[ids(create.parent)]
        assert (create.name, process.name) == (f"create {site.names[1]}", f"process {site.names[0]}")
        assert ids(process.parent) == (number + 1, number + 1)
        walked[number] += 1
    children = {ids(span.parent): span for span in spans.values() if span.parent is not None}
    for record, letter in zip(site.records(2), site.dead_letters(), strict=True):
        number = number_of[letter.source.partition, letter.source.offset]
        assert header_ids(record) == (number + 1, number + 1)
        assert children[number + 1, number + 1].name == f"process {site.names[0]}"
        walked[number] += 1
    assert walked.keys() == set(range(count))

    batches = [span for span in spans.values() if span.name.startswith("chat ")]
    batch_ids = {ids(batch.context) for batch in batches}
    linked = {ids(link.context) for batch in batches for link in batch.links}
    judged = [span for span in spans.values() if "moderation.severity" in (span.attributes or {})]
    assert all(any(ids(link.context) in batch_ids for link in span.links) for span in judged)
    # All others came when an equal prompt was kept, or under way: their batch did not know them.
    assert sum(ids(span.context) in linked for span in judged) >= 390
    assert any(not span.status.is_ok for span in batches), "no batch was bisected"
    assert max(len(batch.links) for batch in batches) <= 128
