"""OpenTelemetry set-up of a process: the only importer of the SDK. Off unless an exporter is configured.

Endpoint, protocol, sampler, interval and resource are the standard `OTEL_…` variables. Does not create spans or
instruments.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from os import getpid
from pathlib import Path
from typing import Literal

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SpanExporter,
)
from opentelemetry.sdk.trace.sampling import ParentBased

from workers.sections import TelemetrySettings

FILE_DELAY_MS = 500
# A collector that is gone must not hold up a stop.
METRICS_STOP_MS = 2_000
Signal = Literal["TRACES", "METRICS"]


@dataclass(frozen=True)
class Tracing:
    """What the process traces: whether at all, and whether an unsampled parent decides for its children."""

    enabled: bool
    parent_decides: bool
    provider: TracerProvider | None = None

    def flush(self) -> None:
        """Export what is buffered, and stop."""
        if self.provider is not None:
            self.provider.shutdown()


@dataclass(frozen=True)
class Metrics:
    """What the process measures; nothing where it has no provider."""

    provider: MeterProvider | None = None

    def flush(self) -> None:
        """Export what was measured since the last time, and stop."""
        if self.provider is not None:
            self.provider.shutdown(METRICS_STOP_MS)


def start_tracing(settings: TelemetrySettings, role: str, otel: Mapping[str, str]) -> Tracing:
    """Install the tracer provider of this process, where spans have somewhere to go.

    Args:
        settings: our telemetry settings.
        role: service name unless OTEL_SERVICE_NAME says otherwise, e.g. `weir-stream`.
        otel: the `OTEL_…` variables.
    """
    exporter = _span_exporter(otel)
    if _is_disabled(otel) or (exporter is None and settings.span_directory is None):
        return Tracing(enabled=False, parent_decides=True)
    provider = TracerProvider(resource=_resource(role, otel))
    if exporter is not None:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    if settings.span_directory is not None:
        exporter = _file_exporter(settings.span_directory, role)
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=FILE_DELAY_MS))
    trace.set_tracer_provider(provider)
    return Tracing(True, isinstance(provider.sampler, ParentBased), provider)


def start_metrics(role: str, otel: Mapping[str, str]) -> Metrics:
    """Install the meter provider of this process, where measurements have somewhere to go; see `start_tracing`."""
    if _is_disabled(otel) or (exporter := _metric_exporter(otel)) is None:
        return Metrics()
    provider = MeterProvider([PeriodicExportingMetricReader(exporter)], resource=_resource(role, otel))
    metrics.set_meter_provider(provider)
    return Metrics(provider)


def _is_disabled(otel: Mapping[str, str]) -> bool:
    return otel.get("OTEL_SDK_DISABLED", "").lower() == "true"


def _resource(role: str, otel: Mapping[str, str]) -> Resource:
    return Resource.create({"service.name": otel.get("OTEL_SERVICE_NAME", role)})


def _span_exporter(otel: Mapping[str, str]) -> SpanExporter | None:
    protocol = _otlp_protocol("TRACES", otel)
    if protocol is None:
        return None
    return HttpSpanExporter() if protocol.startswith("http") else GrpcSpanExporter()


def _metric_exporter(otel: Mapping[str, str]) -> MetricExporter | None:
    protocol = _otlp_protocol("METRICS", otel)
    if protocol is None:
        return None
    return HttpMetricExporter() if protocol.startswith("http") else GrpcMetricExporter()


def _otlp_protocol(signal: Signal, otel: Mapping[str, str]) -> str | None:
    """The protocol to export a signal by; None where it is switched off or has no endpoint."""

    def first(setting: str) -> str | None:
        names = (f"OTEL_EXPORTER_OTLP_{signal}_{setting}", f"OTEL_EXPORTER_OTLP_{setting}")
        return next((otel[name] for name in names if otel.get(name)), None)

    if otel.get(f"OTEL_{signal}_EXPORTER", "otlp") == "none" or first("ENDPOINT") is None:
        return None
    return first("PROTOCOL") or "grpc"


def _file_exporter(directory: Path, role: str) -> SpanExporter:
    directory.mkdir(parents=True, exist_ok=True)
    out = (directory / f"{role}-{getpid()}.jsonl").open("a", encoding="utf-8", buffering=1)
    return ConsoleSpanExporter(out=out, formatter=_one_line)


def _one_line(span: ReadableSpan) -> str:
    return f"{span.to_json(indent=None)}\n"
