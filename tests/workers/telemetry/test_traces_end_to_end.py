"""A real collector receives every span; traces are walked from verdict and dead letter to their producer (P11)."""

import json
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagate import inject
from opentelemetry.trace import SpanKind

from schemas.record import SourceRecord
from schemas.verdict import Source
from tests.guards.traced_guard import replica_guard
from tests.site import Broker, Site, event
from tests.weir_result import Result
from tests.workers.telemetry.collector import Collector
from workers.demo.broker import EmbeddedBroker
from workers.kafka.producer import producer
from workers.serving import guard_replica
from workers.settings.sections import TelemetrySettings
from workers.telemetry.export import Tracing, start_tracing
from workers.telemetry.span_encoding import SpanContext, read_traceparent
from workers.tools.inspect.trace import ReadSpan, SpanNode, read_spans, trace_tree

COUNT = 300
BAD = 7  # of so many events, one is no JSON


@pytest.fixture
def site() -> Iterator[Site]:
    with EmbeddedBroker() as running:
        made = Site(Broker(running.bootstrap_servers, running.api_version, running.create_topic))
        yield made
        made.close()


def produce(site: Site, tracing: Tracing) -> dict[int, str]:
    """Write events as a service of somebody else's does, each under a span of its own; trace ids by number."""
    assert tracing.provider is not None
    tracer = tracing.provider.get_tracer("chat-service")
    sender = producer(site.settings.kafka)
    traces: dict[int, str] = {}
    for number in range(COUNT):
        span = tracer.start_span("create chat.events", Context(), SpanKind.PRODUCER)
        carrier: dict[str, str] = {"tracestate": "vendor=1", "baggage": "room=7"}
        inject(carrier, trace.set_span_in_context(span))
        headers = [(name, value.encode()) for name, value in carrier.items()]
        value = event(f"e{number}", f"hello {number}") if number % BAD else b"{"
        sender.send(site.names[0], value, b"k%d" % number, headers)
        span.end()
        traces[number] = f"{span.get_span_context().trace_id:032x}"
    sender.flush()
    sender.close()
    return traces


def tracing_of(role: str, collector: Collector, monkeypatch: pytest.MonkeyPatch, protocol: str) -> Tracing:
    endpoint = collector.grpc_endpoint if protocol == "grpc" else f"{collector.endpoint}/v1/traces"
    variables = {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_INSECURE": "true",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(trace, "set_tracer_provider", lambda _: None)
    return start_tracing(TelemetrySettings(), role, variables)


def place_of(record: SourceRecord) -> SpanContext:
    place = read_traceparent(record.header("traceparent") or b"")
    assert place is not None
    return place


def names(node: SpanNode) -> dict[str, int]:
    """Spans of a tree by name, without topics' suffixes."""
    found = {node.name.partition(" ")[0]: 1}
    for child in node.children:
        for name, count in names(child).items():
            found[name] = found.get(name, 0) + count
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_p11_a_collector_has_each_message_s_way_from_its_producer_to_its_verdict_or_dead_letter(
    site: Site, collector: Collector, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    chat, stream, guard = (
        tracing_of(role, collector, monkeypatch, protocol) for role in ("chat-service", "weir-stream", "weir-guard")
    )
    monkeypatch.setattr(guard_replica, "start_tracing", lambda *_: guard)
    monkeypatch.setattr(guard_replica, "configure_logging", lambda _: None)
    traces = produce(site, chat)
    worker = site.start(replica_guard(site), site.settings, stream)
    site.wait_for(COUNT)
    assert worker.stop(20.0)
    for tracing in (chat, stream, guard):
        tracing.flush()
    collector.stop()

    spans = read_spans(collector.traces_file)
    numbers = {(record.partition, record.offset): int((record.key or b"")[1:]) for record in site.records(0)}
    verdicts, letters = site.records(1), site.dead_letters()
    assert (len(verdicts), len(letters)) == (COUNT - -(-COUNT // BAD), -(-COUNT // BAD))
    assert {span.service for span in spans} == {"chat-service", "weir-stream", "weir-guard"}
    for record in verdicts:
        source = json.loads(record.value or b"")["source"]
        trace_id = traces[numbers[source["partition"], source["offset"]]]
        walk(spans, place_of(record), trace_id)
        assert record.header("baggage") == b"room=7"
    tree = trace_tree(spans, place_of(verdicts[0]))
    others = ("process", "poll", "queue", "chat", "parse", "send", "commit")
    assert names(tree) == {"create": 2} | dict.fromkeys(others, 1)
    assert tree.service == "chat-service"
    raw = site.records(2)[0]
    of_letter = trace_tree(spans, place_of(raw))
    assert names(of_letter) == {"create": 2, "process": 1, "poll": 1, "send": 1, "commit": 1}
    (process,) = of_letter.children
    assert (process.is_error, process.attributes["error.type"]) == (True, "invalid_json")
    assert place_of(raw).trace.hex() == traces[numbers[letters[0].source.partition, letters[0].source.offset]]
    check_command(site, collector, json.loads(verdicts[0].value or b"")["event_id"], letters[0].source)


def walk(spans: list[ReadSpan], place: SpanContext, trace_id: str) -> None:
    """From a verdict's headers to its producer's span, parent by parent."""
    own = {span.span: span for span in spans if span.trace == place.trace.hex()}
    create = own[place.span.hex()]
    process = own[create.parent]
    first = own[process.parent]
    assert (create.name.split()[0], process.name.split()[0], first.name) == ("create", "process", "create chat.events")
    assert (first.trace, first.service, first.parent) == (trace_id, "chat-service", "")


def check_command(site: Site, collector: Collector, event_id: str, source: Source) -> None:
    """`weir trace` finds both, and shows their spans."""
    bootstrap, version = site.settings.kafka.bootstrap_servers, site.settings.kafka.api_version
    environment = {
        "WEIR_KAFKA__BOOTSTRAP_SERVERS": bootstrap,
        "WEIR_KAFKA__API_VERSION": version or "",
        "WEIR_TOPICS__EVENTS": site.names[0],
        "WEIR_TOPICS__VERDICTS": site.names[1],
        "WEIR_TOPICS__DEAD_LETTERS": site.names[2],
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        found = Result("trace", event_id, "--spans", str(collector.traces_file), "--json")
        assert found.code == 0, found.err
        (entry,) = json.loads(found.out)
        assert (entry["outcome"], entry["end"]) == ("verdict", "Safe, allow")
        assert entry["trace"]["name"] == "create chat.events"
        shown = Result(
            "trace", f"{source.topic}-{source.partition}-{source.offset}", "--spans", str(collector.traces_file)
        )  # type: ignore[attr-defined]
        assert shown.code == 0
        assert "dead_letter (invalid_json)" in shown.out
        assert "process" in shown.out
        missing = Result("trace", "nobody", "--json")
        assert (missing.code, json.loads(missing.out)) == (1, [])
