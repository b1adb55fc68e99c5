"""Telemetry is off without an endpoint, follows the standard variables, and can write its spans into a folder."""

import os
from pathlib import Path

import pytest
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind

from workers.settings.sections import TelemetrySettings
from workers.telemetry import export as telemetry
from workers.telemetry.export import start_metrics, start_tracing
from workers.telemetry.span_encoding import (
    EncodedSpans,
    encode_attributes,
    encode_link,
    encode_name,
    encode_span,
    new_root,
)
from workers.tools.inspect.trace import ReadSpan, read_spans

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[TracerProvider]:
    """Providers that were installed; the process keeps its own."""
    providers: list[TracerProvider] = []
    monkeypatch.setattr(trace, "set_tracer_provider", providers.append)
    return providers


class Unbuffered(SimpleSpanProcessor):
    """Stands in for a batch processor."""

    @property
    def _batch_processor(self) -> "Unbuffered":
        return self

    def shutdown(self, *_: object) -> None:
        super().shutdown()


@pytest.fixture
def exporters(monkeypatch: pytest.MonkeyPatch) -> list[SpanExporter]:
    """Exporters that were handed to a batch processor, which is kept from starting its thread."""
    made: list[SpanExporter] = []

    def keep(exporter: SpanExporter, *_: object, **__: object) -> object:
        made.append(exporter)
        return Unbuffered(exporter)

    monkeypatch.setattr(telemetry, "BatchSpanProcessor", keep)
    return made


@pytest.mark.parametrize(
    "otel",
    [
        {},
        {"OTEL_SERVICE_NAME": "me", "OTEL_TRACES_SAMPLER": "always_on"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "true"},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE"},
    ],
)
def test_tracing_is_off_where_spans_have_nowhere_to_go(
    installed: list[TracerProvider], exporters: list[SpanExporter], otel: dict[str, str]
) -> None:
    tracing = start_tracing(TelemetrySettings(), "weir-stream", otel)

    assert (tracing.enabled, tracing.provider) == (False, None)
    assert (installed, [type(exporter) for exporter in exporters if otel.get("OTEL_SDK_DISABLED")]) == ([], [])
    tracing.flush()


def test_a_disabled_sdk_writes_no_span_file_either(installed: list[TracerProvider], tmp_path: Path) -> None:
    settings = TelemetrySettings(span_directory=tmp_path / "spans")

    assert not start_tracing(settings, "weir-stream", {"OTEL_SDK_DISABLED": "true"}).enabled
    assert installed == []
    assert not (tmp_path / "spans").exists()


@pytest.mark.parametrize(
    ("otel", "kind"),
    [
        (ENDPOINT, GrpcSpanExporter),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1"}, GrpcSpanExporter),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, HttpSpanExporter),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, GrpcSpanExporter),
        (
            {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
            HttpSpanExporter,
        ),
    ],
)
def test_an_endpoint_switches_tracing_on_with_the_protocol_named(
    installed: list[TracerProvider],
    exporters: list[SpanExporter],
    monkeypatch: pytest.MonkeyPatch,
    otel: dict[str, str],
    kind: type[SpanExporter],
) -> None:
    for name, value in otel.items():
        monkeypatch.setenv(name, value)
    tracing = start_tracing(TelemetrySettings(), "weir-stream", otel)

    assert tracing.enabled
    assert [isinstance(exporter, kind) for exporter in exporters] == [True]
    assert installed == [tracing.provider]
    tracing.flush()


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("sampler", "decides"), [(None, True), ("parentbased_traceidratio", True), ("always_on", False)]
)
def test_p11_whether_an_unsampled_parent_decides_follows_the_sampler(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sampler: str | None, decides: bool
) -> None:
    if sampler:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    tracing = start_tracing(TelemetrySettings(span_directory=tmp_path), "weir-stream", {})

    assert tracing.parent_decides is decides
    tracing.flush()


@pytest.mark.usefixtures("installed")
def test_p11_a_sampler_that_takes_nothing_switches_tracing_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")

    assert not start_tracing(TelemetrySettings(span_directory=tmp_path), "weir-stream", {}).enabled


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("share", "is_sampled"), [("1.0", True), ("0.0", False)])
def test_p11_a_trace_that_begins_here_is_sampled_as_the_standard_variables_say(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, share: str, is_sampled: bool
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", share)
    tracing = start_tracing(TelemetrySettings(span_directory=tmp_path), "weir-stream", {})

    assert tracing.samples(b"\x7f" * 16) is is_sampled
    tracing.flush()


@pytest.mark.parametrize(("otel", "service"), [({}, "weir-guard"), ({"OTEL_SERVICE_NAME": "moderation"}, "moderation")])
def test_p11_both_kinds_of_spans_go_into_a_file_of_this_process_as_a_collector_would_write_them(
    installed: list[TracerProvider], tmp_path: Path, otel: dict[str, str], service: str
) -> None:
    directory = tmp_path / "made" / "here"
    tracing = start_tracing(TelemetrySettings(span_directory=directory), "weir-guard", otel)
    tracer = installed[0].get_tracer("t")
    with tracer.start_as_current_span("outer"), tracer.start_as_current_span("in\nner"):
        pass
    root = new_root()
    links, attributes = [encode_link(root.encoded())], encode_attributes({"size": 3})
    span = encode_span(
        root.child().encoded(), root.span, encode_name("of bytes", SpanKind.CONSUMER), (1, 2), attributes, links, "bad"
    )
    tracing.emit(EncodedSpans(span))
    tracing.flush()
    inner, outer, own = read_spans(directory / f"weir-guard-{os.getpid()}.jsonl")

    assert tracing.enabled
    assert (inner.name, outer.name) == ("in\nner", "outer")
    assert inner.parent == outer.span
    assert {span.service for span in (inner, outer, own)} == {service}
    assert own._replace(span="") == ReadSpan(
        root.trace.hex(),
        "",
        root.span.hex(),
        "of bytes",
        service,
        1,
        2,
        {"size": 3},
        ((root.trace.hex(), root.span.hex()),),
        True,
    )


@pytest.fixture
def measured_by(monkeypatch: pytest.MonkeyPatch) -> list[MetricExporter]:
    """Exporters that were handed to a periodic reader, which is kept from starting its thread."""
    made: list[MetricExporter] = []

    def keep(exporter: MetricExporter) -> object:
        made.append(exporter)
        return InMemoryMetricReader()

    monkeypatch.setattr(telemetry, "PeriodicExportingMetricReader", keep)
    return made


@pytest.fixture
def meters(monkeypatch: pytest.MonkeyPatch) -> list[MeterProvider]:
    """Meter providers that were installed; the process keeps its own."""
    providers: list[MeterProvider] = []
    monkeypatch.setattr(metrics, "set_meter_provider", providers.append)
    return providers


@pytest.mark.parametrize(
    "otel",
    [
        {},
        {"OTEL_METRIC_EXPORT_INTERVAL": "10"},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1"},
        {**ENDPOINT, "OTEL_METRICS_EXPORTER": "none"},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "true"},
    ],
)
def test_metrics_are_off_where_they_have_nowhere_to_go(
    meters: list[MeterProvider], measured_by: list[MetricExporter], otel: dict[str, str]
) -> None:
    measuring = start_metrics("weir-guard", otel)

    assert (measuring.provider, meters, measured_by) == (None, [], [])
    measuring.flush()


@pytest.mark.parametrize(
    ("otel", "kind"),
    [
        (ENDPOINT, GrpcMetricExporter),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, GrpcMetricExporter),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:1"}, GrpcMetricExporter),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, HttpMetricExporter),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/protobuf"}, HttpMetricExporter),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}, GrpcMetricExporter),
    ],
)
def test_an_endpoint_switches_metrics_on_with_the_protocol_named(
    meters: list[MeterProvider],
    measured_by: list[MetricExporter],
    monkeypatch: pytest.MonkeyPatch,
    otel: dict[str, str],
    kind: type[MetricExporter],
) -> None:
    for name, value in otel.items():
        monkeypatch.setenv(name, value)
    measuring = start_metrics("weir-guard", otel)

    assert [type(exporter) for exporter in measured_by] == [kind]
    assert meters == [measuring.provider]
    measuring.flush()
