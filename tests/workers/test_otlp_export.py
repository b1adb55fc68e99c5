"""Spans reach a collector over OTLP, set up by the standard variables alone."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.util._once import Once

from workers.sections import TelemetrySettings
from workers.telemetry import start_tracing

Received = list[tuple[str, bytes]]


@pytest.fixture
def collector() -> Iterator[tuple[str, Received]]:
    """An HTTP server on the loopback interface that keeps what is posted to it."""
    received: Received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    server.server_close()


def test_p11_spans_are_exported_over_otlp_to_the_standard_endpoint(
    collector: tuple[str, Received], monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, received = collector
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())

    tracing = start_tracing(TelemetrySettings(), "weir-stream", variables)
    with trace.get_tracer("test").start_as_current_span("process chat.events"):
        pass
    tracing.flush()

    path, body = received[0]
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    names = {item.key: item.value.string_value for item in resource.resource.attributes}
    assert path == "/v1/traces"
    assert names["service.name"] == "weir-stream"
    assert [span.name for span in resource.scope_spans[0].spans] == ["process chat.events"]
