"""Spans and metrics reach a collector over OTLP, set up by the standard variables alone."""

import time
from collections.abc import Iterator

import pytest
from opentelemetry import metrics, trace
from opentelemetry.metrics import _internal as metrics_state
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.util._once import Once

from tests.workers.telemetry.otlp_collector import OtlpCollector
from workers.settings.sections import TelemetrySettings
from workers.telemetry.export import start_metrics, start_tracing


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpCollector]:
    """A collector that this process's telemetry goes to, once it is started."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(metrics_state, "_METER_PROVIDER", None)
    monkeypatch.setattr(metrics_state, "_METER_PROVIDER_SET_ONCE", Once())
    with OtlpCollector() as collector:
        for name, value in collector.variables.items():
            monkeypatch.setenv(name, value)
        yield collector


def test_p11_spans_are_exported_over_otlp_to_the_standard_endpoint(collector: OtlpCollector) -> None:
    tracing = start_tracing(TelemetrySettings(), "weir-stream", collector.variables)
    with trace.get_tracer("test").start_as_current_span("process chat.events"):
        pass
    tracing.flush()

    path, body = collector.received[0]
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    names = {item.key: item.value.string_value for item in resource.resource.attributes}
    assert path == "/v1/traces"
    assert names["service.name"] == "weir-stream"
    assert [span.name for span in resource.scope_spans[0].spans] == ["process chat.events"]


def test_metrics_are_exported_over_otlp_to_the_standard_endpoint(collector: OtlpCollector) -> None:
    measuring = start_metrics("weir-guard", collector.variables)
    metrics.get_meter("test").create_counter("moderation.cache.hits", "{prompt}").add(3)
    measuring.flush()

    path, body = collector.received[0]
    (resource,) = ExportMetricsServiceRequest.FromString(body).resource_metrics
    names = {item.key: item.value.string_value for item in resource.resource.attributes}
    (metric,) = resource.scope_metrics[0].metrics
    assert path == "/v1/metrics"
    assert names["service.name"] == "weir-guard"
    assert names["service.instance.id"], "replicas of one service are told apart"
    assert (metric.name, metric.unit, metric.sum.data_points[0].as_int) == ("moderation.cache.hits", "{prompt}", 3)


def test_a_collector_that_is_gone_holds_up_no_stop(monkeypatch: pytest.MonkeyPatch, collector: OtlpCollector) -> None:
    gone = {**collector.variables, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", gone["OTEL_EXPORTER_OTLP_ENDPOINT"])
    measuring = start_metrics("weir-guard", gone)
    metrics.get_meter("test").create_counter("moderation.cache.hits").add(3)
    started = time.monotonic()
    measuring.flush()

    assert time.monotonic() - started < 5
