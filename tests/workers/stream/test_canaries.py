"""No content in telemetry (P10): canaries go every way; logs, spans, metrics and error headers are searched."""

import gc
import io
import json
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from pipelines.guard import GuardRequest
from schemas.dead_letter import BROKER, OWN
from schemas.errors import GuardCallFailedError, GuardCrashError, GuardUnavailableError
from tests.guards.scripted_guard import ScriptedGuard, text_of
from tests.guards.traced_guard import CANARY, recorded, replica_guard, send
from tests.site import Site, event, wait_until
from tests.weir_result import Result
from tests.workers.telemetry.recorded_spans import SAMPLED
from tests.workers.telemetry.recorded_tracing import RecordedTracing
from workers.shadow import lane as shadow_lane
from workers.telemetry.log import configure_logging

Figures = Callable[[], list[str]]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> RecordedTracing:
    return recorded(monkeypatch)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Figures:
    """Every metric, with all its attributes, as text."""
    reader = InMemoryMetricReader()
    monkeypatch.setattr(metrics, "get_meter", MeterProvider([reader]).get_meter)

    def told() -> list[str]:
        data = reader.get_metrics_data()
        return [] if data is None else data.to_json(indent=0).splitlines()

    return told


@pytest.fixture(params=["DEBUG", "INFO"])
def logs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What a process would write to stderr."""
    root = logging.getLogger()
    handlers, level, written = root.handlers[:], root.level, io.StringIO()
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(sys, "stderr", written)
    configure_logging(request.param)
    yield written
    root.handlers[:] = handlers
    root.setLevel(level)


def leaks(site: Site, spans: RecordedTracing, logs: io.StringIO, figures: Figures) -> list[str]:
    """Everything in telemetry that holds the canary."""
    gc.collect()  # an exception that nobody looked at is logged when its future goes
    told = logs.getvalue().splitlines() + [span.to_json(indent=None) for span in spans.finished()]
    told += figures()
    for record in site.records(2):
        own = [(name, value) for name, value in record.headers if name.startswith((BROKER, OWN))]
        told += [f"{name}: {(value or b'').decode()}" for name, value in own]
    assert logs.getvalue()
    assert spans.finished()
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
    json.dumps({"event_id": CANARY, "messages": []}).encode(),
    json.dumps({"event_id": "e", "messages": [{"role": "user", "content": [CANARY, {CANARY: CANARY}]}]}).encode(),
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
    [("traceparent", SAMPLED), ("tracestate", f"{CANARY}==".encode()), ("baggage", f"a={CANARY}".encode())],
    [("traceparent", SAMPLED[:-1] + b"0"), ("baggage", CANARY.encode())],
    [(OWN + "reason", CANARY.encode()), (OWN + "redrive_count", CANARY.encode())],
]


def test_p10_no_log_span_or_error_header_ever_holds_content(
    site: Site, spans: RecordedTracing, logs: io.StringIO, figures: Figures
) -> None:
    key = CANARY.encode()
    records = [(key, value, headers) for value in JUNK for headers in ([], *HEADERS)]
    send(site, [*records, (key, None, []), (key, event("big", CANARY * 60_000), [])])
    worker = site.start(replica_guard(site), site.settings_with(limits={"max_event_bytes": 500_000}), spans)
    site.wait_for(len(records) + 1)  # a null is skipped
    assert worker.stop(20.0)

    assert leaks(site, spans, logs, figures) == []
    assert len({letter.reason for letter in site.dead_letters()}) >= 12
    assert spans.finished("chat ")
    assert CANARY in str(site.verdicts()), "ids do belong into verdicts"


def test_p10_what_a_guard_says_when_it_fails_is_not_repeated(
    site: Site, spans: RecordedTracing, logs: io.StringIO, figures: Figures
) -> None:
    raised: list[str] = []

    async def fail(requests: Sequence[GuardRequest]) -> None:
        errors = {"down": GuardUnavailableError, "raise": GuardCallFailedError, "crash": GuardCrashError}
        for kind, error in errors.items():
            if any(text_of(request).startswith(kind) for request in requests):
                raised.append(kind)
                if kind != "down" or raised.count(kind) < 4:
                    raise error(f"{kind} {CANARY}")

    kinds = ("down", "raise", "crash", "fine")
    send(site, [(b"k", event(f"e-{kind}", f"{kind} {CANARY}"), []) for kind in kinds])
    worker = site.start(ScriptedGuard(script=fail), tracing=spans)
    site.wait_for(4)
    assert worker.stop(20.0)
    assert set(raised) == {"down", "raise", "crash"}
    assert leaks(site, spans, logs, figures) == []


def test_p10_a_worker_that_fails_says_why_without_the_text(
    site: Site, spans: RecordedTracing, logs: io.StringIO, figures: Figures
) -> None:
    async def be_wrong(_: Sequence[GuardRequest]) -> None:
        raise KeyError(CANARY)

    send(site, [(b"k", event("e", CANARY), [("a", b"b")]), *[(b"k", b"{", [])] * 3])
    worker = site.start(ScriptedGuard(script=be_wrong), tracing=spans)
    started = time.monotonic()
    wait_until(lambda: worker.failure is not None and "worker_stopped" in logs.getvalue(), "the worker to fail")
    assert time.monotonic() - started < 15, "a failed worker waited for what can never be done"
    assert worker.stuck_reason() == "the worker failed: KeyError"
    assert "worker_failed" in logs.getvalue()
    assert leaks(site, spans, logs, figures) == []


def test_p10_what_a_breaker_holds_back_and_a_broker_refuses_is_not_told(
    site: Site, spans: RecordedTracing, logs: io.StringIO, figures: Figures
) -> None:
    settings = site.settings_with(
        breaker={"consecutive_failures": 5, "failure_min_records": 1_000}, kafka={"max_request_bytes": 2_000}
    )
    send(site, [(CANARY.encode(), event("e", CANARY + "x" * 3_000), [])])
    worker = site.start(ScriptedGuard(answer=lambda _: CANARY), settings, spans)
    wait_until(lambda: "dead_letter_value_dropped" in logs.getvalue(), "a dead letter that is too large")
    send(site, [(CANARY.encode(), event(f"{CANARY}-{number}", CANARY), []) for number in range(30)])
    wait_until(lambda: worker.breaker.is_open, "the breaker to open")
    assert worker.stop(20.0)

    assert "breaker_opened" in logs.getvalue()
    assert leaks(site, spans, logs, figures) == []


def test_p10_what_fails_in_the_shadow_lane_is_told_by_kind(
    site: Site, spans: RecordedTracing, logs: io.StringIO, figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(requests: Sequence[GuardRequest]) -> None:
        if any(text_of(request).startswith("wrong") for request in requests):
            raise KeyError(CANARY)

    def disagreement(*_: object) -> None:
        raise ValueError(CANARY)

    monkeypatch.setattr(shadow_lane, "disagreement", disagreement)
    settings = site.settings_with(
        shadow={"enabled": True, "share": 1.0, "model": CANARY, "timeout_s": 5}, delivery={"chunk_size": 1}
    )
    lane = site.start_shadow(settings, ScriptedGuard(lambda _: CANARY, fail))
    kinds = ("wrong", "mumble", "fine")
    send(site, [(b"k", event(f"{CANARY}-{kind}", f"{kind} {CANARY}"), []) for kind in kinds])
    worker = site.start(replica_guard(site), settings, spans, lane)
    wait_until(lambda: lane.counts.done >= 2, "the lane to give up on two of them")
    assert worker.stop(20.0)
    lane.stop(20.0)

    assert "shadow_failed" in logs.getvalue()
    assert leaks(site, spans, logs, figures) == []


@pytest.mark.integration
def test_p10_commands_that_look_at_everything_tell_nothing(
    kafka_site: Site, spans: RecordedTracing, figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = kafka_site
    send(site, [(CANARY.encode(), value, []) for value in JUNK])
    worker = site.start(replica_guard(site), tracing=spans)
    site.wait_for(len(JUNK))
    assert worker.stop(20.0)
    variables = {
        "WEIR_KAFKA__BOOTSTRAP_SERVERS": site.settings.kafka.bootstrap_servers,
        "WEIR_KAFKA__GROUP_ID": site.settings.kafka.group_id,
        "WEIR_TOPICS__EVENTS": site.names[0],
        "WEIR_TOPICS__VERDICTS": site.names[1],
        "WEIR_TOPICS__DEAD_LETTERS": site.names[2],
        "WEIR_TELEMETRY__LOG_LEVEL": "DEBUG",
        "RAY_ADDRESS": "127.0.0.1:1",  # not the cluster of a test that runs beside this one
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    place = site.dead_letters()[0].source
    commands = (
        ("verify", "--json"),
        ("dlq", "list", "--records", "--json"),
        ("dlq", "list"),
        ("dlq", "show", f"{place.topic}-{place.partition}-{place.offset}"),
        ("dlq", "redrive", "--dry-run"),
        ("dlq", "redrive"),
        ("trace", CANARY, "--json"),
    )
    for command in commands:
        ran = Result(*command)
        assert ran.code != 2, ran.err
        assert CANARY not in ran.out, command
        assert CANARY not in ran.err, command
    assert CANARY not in str(figures())


@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
def test_p10_classify_tells_errors_by_field_and_rule(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_TELEMETRY__LOG_LEVEL", level)
    lines = [value for value in JUNK if b"\n" not in value and CANARY.encode() in value]
    ran = Result("classify", "--model", "demo", stdin=b"\n".join(lines) + b"\n")

    assert CANARY not in ran.err
    errors = [json.loads(line)["error"] for line in ran.out.splitlines() if "error" in json.loads(line)]
    assert len(errors) > 8
    assert CANARY not in str(errors)
