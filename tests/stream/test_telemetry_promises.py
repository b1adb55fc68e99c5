"""No content in telemetry (P10), one trace from producer to commit (P11): over a whole worker and a guard replica."""

import gc
import io
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext

from pipelines.guard import GuardReply, GuardRequest
from schemas.dead_letter import BROKER, OWN
from schemas.errors import GuardCallFailedError, GuardCrashError, GuardUnavailableError, ModerationError
from schemas.record import SourceRecord
from tests.stream.conftest import Bench, event, wait_until
from tests.stream.scripted_guard import SAFE, ScriptedGuard, text_of
from workers.log import configure_logging
from workers.serving import guard_replica
from workers.serving.engine.judgement import Conversation, EngineIdentity, Judgement, PreparedPrompt
from workers.serving.guard_replica import GuardReplica
from workers.stream.kafka_clients import producer
from workers.telemetry import Tracing

CANARY = "kookaburra"
ON = Tracing(enabled=True, parent_decides=True)
Spans = Callable[[str], list[ReadableSpan]]


class Engine:
    """Answers Safe, writes the canary off the grammar, or raises with it, as the text says."""

    identity = EngineIdentity("pretend", "r7", "p7", "pretend", "float32", "cpu")

    def prepare(self, conversation: Conversation) -> PreparedPrompt | Judgement:
        return PreparedPrompt(np.array([ord(c) for c in str(conversation[-1]["content"])], dtype=np.int64), "prompt")

    def run(self, prompts: Sequence[PreparedPrompt]) -> list[Judgement]:
        texts = ["".join(map(chr, prompt.token_ids)) for prompt in prompts]
        if any("raise" in text for text in texts):
            raise ValueError(f"could not multiply {CANARY}")
        return [Judgement(CANARY if "mumble" in text else SAFE, None, None, 1, 3, "stop") for text in texts]

    def judge(self, conversations: Sequence[Conversation]) -> list[Judgement]:
        raise NotImplementedError


class ReplicaGuard:
    """A replica in this process, its errors as a Serve handle's client sorts them."""

    def __init__(self, replica: GuardReplica) -> None:
        self._replica = replica

    async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply:
        try:
            return await self._replica.judge(requests)
        except ModerationError:
            raise
        except Exception as error:  # noqa: BLE001 - an engine raises anything
            raise GuardCallFailedError(type(error).__name__) from None


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    """Finished spans whose name begins so; all processes' tracers lead here."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    monkeypatch.setattr(guard_replica, "start_tracing", lambda *_: ON)
    monkeypatch.setattr(guard_replica, "configure_logging", lambda _: None)
    return lambda name: [span for span in exporter.get_finished_spans() if span.name.startswith(name)]


@pytest.fixture(params=["DEBUG", "INFO"])
def logs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What a process would write to stderr."""
    root = logging.getLogger()
    handlers, level, written = root.handlers[:], root.level, io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    configure_logging(request.param)
    yield written
    root.handlers[:] = handlers
    root.setLevel(level)


def replica_guard(bench: Bench) -> ReplicaGuard:
    return ReplicaGuard(GuardReplica(bench.settings, Engine()))


def send(bench: Bench, records: Sequence[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]]) -> None:
    sender = producer(bench.settings.kafka)
    sent = [sender.send(bench.names[0], value, key, headers) for key, value, headers in records]
    sender.close()
    assert all(future.succeeded() for future in sent)


def leaks(bench: Bench, spans: Spans, logs: io.StringIO) -> list[str]:
    """Everything in telemetry that holds the canary."""
    gc.collect()  # an exception that nobody looked at is logged when its future goes
    told = logs.getvalue().splitlines() + [span.to_json(indent=None) for span in spans("")]
    for record in bench.records(2):
        own = [(name, value) for name, value in record.headers if name.startswith((BROKER, OWN))]
        told += [f"{name}: {(value or b'').decode()}" for name, value in own]
    assert logs.getvalue()
    assert spans("")
    return [line for line in told if CANARY in line]


JUNK: list[bytes] = [
    event("e1", CANARY),
    event(CANARY, "hello"),
    event("e2", f"mumble {CANARY}"),
    event("e3", f"raise {CANARY}"),
    json.dumps({"event_id": "e", "conversation_id": CANARY, "tenant": CANARY, "text": CANARY}).encode(),
    json.dumps({"event_id": "e", "messages": [{"role": CANARY, "content": CANARY}]}).encode(),
    json.dumps({"event_id": "e", "messages": [{"role": "user", CANARY: CANARY}]}).encode(),
    json.dumps({"event_id": "e", "messages": [{"role": "assistant", "content": CANARY}]}).encode(),
    json.dumps({"event_id": {CANARY: CANARY}, "text": [CANARY]}).encode(),
    json.dumps({"event_id": "e", "text": CANARY, "schema_version": CANARY}).encode(),
    json.dumps({"event_id": "e", "text": CANARY, "created_at": CANARY}).encode(),
    json.dumps({"event_id": CANARY * 100, "text": CANARY}).encode(),
    json.dumps({"event_id": "e", "text": CANARY, "messages": CANARY}).encode(),
    json.dumps({"event_id": "e", "text": f"{CANARY} \ud83d"}).encode(),
    json.dumps({"specversion": CANARY, "id": CANARY, "source": CANARY, "type": CANARY, "data": CANARY}).encode(),
    f'{{"event_id": "{CANARY}", "text": "{CANARY}'.encode(),
    f'["{CANARY}"]'.encode(),
    CANARY.encode(),
    b"\xff" + CANARY.encode(),
    b'{"a":' * 600 + CANARY.encode(),
]
HEADERS: list[list[tuple[str, bytes]]] = [
    [(CANARY, CANARY.encode())],
    [("content-type", f"text/{CANARY}".encode())],
    [("content-type", b"application/cloudevents+json")],
    [(f"ce_{name}", CANARY.encode()) for name in ("specversion", "id", "source", "type", "time", CANARY)],
    [("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"/"), ("ce_type", b"t"), ("ce_time", CANARY.encode())],
    [("traceparent", CANARY.encode())],
    [(OWN + "reason", CANARY.encode()), (OWN + "redrive_count", CANARY.encode())],
]


def test_p10_no_log_span_or_error_header_ever_holds_content(bench: Bench, spans: Spans, logs: io.StringIO) -> None:
    key = CANARY.encode()
    records = [(key, value, headers) for value in JUNK for headers in ([], *HEADERS)]
    send(bench, [*records, (key, None, []), (key, event("big", CANARY * 60_000), [])])
    worker = bench.start(replica_guard(bench), bench.settings_with(limits={"max_event_bytes": 500_000}), ON)
    bench.wait_for(len(records) + 2)
    assert worker.stop(20.0)

    assert leaks(bench, spans, logs) == []
    assert len({letter.reason for letter in bench.dead_letters()}) > 12
    assert spans("chat ")
    assert CANARY in str(bench.verdicts()), "ids do belong into verdicts"


def test_p10_what_a_guard_says_when_it_fails_is_not_repeated(bench: Bench, spans: Spans, logs: io.StringIO) -> None:
    raised: list[str] = []

    async def fail(requests: Sequence[GuardRequest]) -> None:
        errors = {"down": GuardUnavailableError, "raise": GuardCallFailedError, "crash": GuardCrashError}
        for kind, error in errors.items():
            if any(text_of(request).startswith(kind) for request in requests):
                raised.append(kind)
                if kind != "down" or raised.count(kind) < 4:
                    raise error(f"{kind} {CANARY}")

    kinds = ("down", "raise", "crash", "fine")
    send(bench, [(b"k", event(f"e-{kind}", f"{kind} {CANARY}"), []) for kind in kinds])
    worker = bench.start(ScriptedGuard(script=fail), tracing=ON)
    bench.wait_for(4)
    assert worker.stop(20.0)
    assert set(raised) == {"down", "raise", "crash"}
    assert leaks(bench, spans, logs) == []


def test_p10_a_worker_that_fails_says_why_without_the_text(bench: Bench, spans: Spans, logs: io.StringIO) -> None:
    async def be_wrong(_: Sequence[GuardRequest]) -> None:
        raise KeyError(CANARY)

    send(bench, [(b"k", event("e", CANARY), [("a", b"b")]), *[(b"k", b"{", [])] * 3])
    worker = bench.start(ScriptedGuard(script=be_wrong), tracing=ON)
    started = time.monotonic()
    wait_until(lambda: worker.failure is not None and "worker_stopped" in logs.getvalue(), "the worker to fail")
    assert time.monotonic() - started < 15, "a failed worker waited for what can never be done"
    assert worker.stuck_reason() == "the worker failed: KeyError"
    assert "worker_failed" in logs.getvalue()
    assert leaks(bench, spans, logs) == []


def traceparent(number: int, flags: str = "01") -> bytes:
    return f"00-{number + 1:032x}-{number + 1:016x}-{flags}".encode()


def ids(context: SpanContext | None) -> tuple[int, int]:
    assert context is not None
    return context.trace_id, context.span_id


def header_ids(record: SourceRecord) -> tuple[int, int]:
    (value,) = [value for name, value in record.headers if name == "traceparent"]
    _, trace_id, span_id, _ = (value or b"").decode().split("-")
    return int(trace_id, 16), int(span_id, 16)


def sources(bench: Bench) -> dict[tuple[int, int], int]:
    """Which number of ours stands at a partition and offset."""
    return {(record.partition, record.offset): int((record.key or b"")[1:]) for record in bench.records(0)}


@pytest.mark.parametrize("mode", ["child", "link"])
def test_p11_every_outcome_leads_back_to_its_producer_s_span(bench: Bench, spans: Spans, mode: str) -> None:
    count = 30
    send(
        bench,
        [
            (
                b"k%d" % i,
                event(f"e{i}", f"hello {i}") if i % 5 else b"{",
                [("traceparent", traceparent(i, "00" if i % 7 == 3 else "01"))],
            )
            for i in range(count)
        ],
    )
    worker = bench.start(replica_guard(bench), bench.settings_with(telemetry={"process_span": mode}), ON)
    bench.wait_for(count)
    assert worker.stop(20.0)

    numbers = sources(bench)
    sampled = {i for i in range(count) if i % 7 != 3}
    processes = {}
    for span in spans("process "):
        at = span.attributes or {}
        number = numbers[int(str(at["messaging.destination.partition.id"])), int(str(at["messaging.kafka.offset"]))]
        processes[number] = span
        creation = span.parent if mode == "child" else span.links[0].context
        assert ids(creation) == (number + 1, number + 1)
    assert processes.keys() == sampled

    sends = {ids(span.context): span for span in spans("send ")}
    parents = {ids(span.parent) for span in sends.values()}
    assert parents == {ids(span.context) for span in processes.values()}
    batches = {ids(span.context): span for span in spans("chat ")}
    seen = set()
    for record in bench.records(1):
        source = json.loads(record.value or b"")["source"]
        number = numbers[source["partition"], source["offset"]]
        seen.add(number)
        if number not in sampled:
            assert header_ids(record) == (number + 1, number + 1), "passed on as it came"
            continue
        sent, process = sends[header_ids(record)], processes[number]
        assert ids(sent.parent) == ids(process.context)
        batch = batches[ids(process.links[-1].context)]
        assert ids(process.context) in {ids(link.context) for link in batch.links}
        assert mode == "link" or header_ids(record)[0] == number + 1
    for record, letter in zip(bench.records(2), bench.dead_letters(), strict=True):
        number = numbers[letter.source.partition, letter.source.offset]
        seen.add(number)
        assert header_ids(record) == (number + 1, number + 1), "a dead letter keeps its record's own headers"
    assert seen == set(range(count))

    own = sorted(ids(span.context) for span in processes.values())
    for name in ("poll ", "commit "):
        assert sorted(ids(link.context) for span in spans(name) for link in span.links) == own, name
        assert all(span.parent is None for span in spans(name))


def test_p11_a_dead_letter_of_a_record_without_a_trace_carries_its_send_span(bench: Bench, spans: Spans) -> None:
    send(bench, [(b"k0", b"{", [])])
    worker = bench.start(ScriptedGuard(), tracing=ON)
    bench.wait_for(1)
    assert worker.stop(20.0)
    (record,) = bench.records(2)
    (sent,) = spans("send ")
    assert header_ids(record) == ids(sent.context)
