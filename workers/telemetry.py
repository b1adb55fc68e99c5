"""OpenTelemetry set-up of a process: the only importer of the SDK. Off unless an exporter is configured.

Endpoint, protocol, sampler and resource are the standard `OTEL_…` variables. Does not create spans.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from os import getpid
from pathlib import Path

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
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
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


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


def start_tracing(settings: TelemetrySettings, role: str, otel: Mapping[str, str]) -> Tracing:
    """Install the tracer provider of this process, where spans have somewhere to go.

    Args:
        settings: our telemetry settings.
        role: service name unless OTEL_SERVICE_NAME says otherwise, e.g. `weir-stream`.
        otel: the `OTEL_…` variables.
    """
    exporter = _otlp_exporter(otel)
    if otel.get("OTEL_SDK_DISABLED", "").lower() == "true" or (exporter is None and settings.span_directory is None):
        return Tracing(enabled=False, parent_decides=True)
    provider = TracerProvider(resource=Resource.create({"service.name": otel.get("OTEL_SERVICE_NAME", role)}))
    if exporter is not None:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    if settings.span_directory is not None:
        exporter = _file_exporter(settings.span_directory, role)
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=FILE_DELAY_MS))
    trace.set_tracer_provider(provider)
    return Tracing(True, isinstance(provider.sampler, ParentBased), provider)


def _otlp_exporter(otel: Mapping[str, str]) -> SpanExporter | None:
    if otel.get("OTEL_TRACES_EXPORTER", "otlp") == "none" or not any(otel.get(name) for name in _ENDPOINTS):
        return None
    protocol = next((otel[name] for name in _PROTOCOLS if otel.get(name)), "grpc")
    return HttpSpanExporter() if protocol.startswith("http") else GrpcSpanExporter()


def _file_exporter(directory: Path, role: str) -> SpanExporter:
    directory.mkdir(parents=True, exist_ok=True)
    out = (directory / f"{role}-{getpid()}.jsonl").open("a", encoding="utf-8", buffering=1)
    return ConsoleSpanExporter(out=out, formatter=_one_line)


def _one_line(span: ReadableSpan) -> str:
    return f"{span.to_json(indent=None)}\n"
