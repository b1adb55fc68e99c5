"""OpenTelemetry set-up of a process: the only importer of the SDK. Off unless an exporter is configured.

Endpoint, protocol, sampler, queue, interval and resource are the standard `OTEL_…` variables. Spans come from the SDK's
tracer or as bytes (`workers.telemetry.span_encoding`), and share the SDK's queue, thread and exporters.
Does not create spans or instruments.
"""

import json
import logging
from base64 import b64decode
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import getpid
from pathlib import Path
from threading import Lock
from typing import Any, cast

from google.protobuf.json_format import MessageToDict
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Decision, ParentBased
from opentelemetry.trace import SpanContext as SdkSpanContext
from opentelemetry.trace import TraceFlags

from workers.settings.sections import TelemetrySettings
from workers.telemetry.log import log_event
from workers.telemetry.metrics.process import observe_process
from workers.telemetry.span_encoding import EncodableSpans, encode_field
from workers.telemetry.variables import Signal, is_disabled, otlp_protocol, service_name, unsupported

FILE_DELAY_MS = 500
MIB = 2**20
# The SDK's defaults, 2,048 and 512, hold a tenth of a second's messages. Some 1.5 kB each.
QUEUED_MESSAGES = 16_384
EXPORTED_MESSAGES = 1_024
# A collector that is gone must not hold up a stop.
METRICS_STOP_MS = 2_000
SPANS_STOP_MS = 2_000
log = logging.getLogger(__name__)
# They log what they cannot read, such as a header with a secret; `unsupported` names its variable.
for _quoting in ("opentelemetry.util.re", "opentelemetry.sdk.resources"):
    logging.getLogger(_quoting).disabled = True


class EncodedBatch:
    """Encodes what an exporter is handed: the SDK's spans, and those that are bytes already.

    Args:
        resource: of this process.
    """

    def __init__(self, resource: Resource) -> None:
        span = TracerProvider(ALWAYS_ON, resource).get_tracer("weir").start_span("")
        (spans,) = encode_spans([cast("ReadableSpan", span)]).resource_spans
        self._scope = ScopeSpans(scope=spans.scope_spans[0].scope).SerializeToString()
        self._resource = ResourceSpans(resource=spans.resource).SerializeToString()

    def encode(self, batch: Sequence[ReadableSpan | EncodableSpans]) -> bytes:
        """Bytes of an `ExportTraceServiceRequest`; two of them, concatenated, are one request."""
        encoded = b"".join([item.encoded() for item in batch if not isinstance(item, ReadableSpan)])
        theirs = [item for item in batch if isinstance(item, ReadableSpan)]
        data = encode_spans(theirs).SerializeToString() if theirs else b""
        if encoded:
            data += encode_field(b"\x0a", self._resource + encode_field(b"\x12", self._scope + encoded))
        return data


class _HttpExporter(HttpSpanExporter):
    def __init__(self, batch: EncodedBatch, endpoint: str | None, timeout_s: float | None) -> None:
        super().__init__(endpoint, timeout=timeout_s)
        self._batch = batch

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        sent = self._client.export(self._batch.encode(spans))
        return SpanExportResult.SUCCESS if sent.success else SpanExportResult.FAILURE


class _GrpcExporter(GrpcSpanExporter):
    def __init__(self, batch: EncodedBatch, endpoint: str | None, timeout_s: float | None) -> None:
        super().__init__(endpoint, timeout=timeout_s)
        self._batch = batch

    def _translate_data(self, data: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
        request: ExportTraceServiceRequest = ExportTraceServiceRequest.FromString(self._batch.encode(data))
        return request


class _FileExporter(SpanExporter):
    """Writes the lines that a collector's file exporter writes: OTLP as JSON, one request a line."""

    def __init__(self, batch: EncodedBatch, path: Path) -> None:
        self._batch = batch
        path.parent.mkdir(parents=True, exist_ok=True)
        self._out = path.open("a", encoding="utf-8", buffering=1)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        request = ExportTraceServiceRequest.FromString(self._batch.encode(spans))
        self._out.write(f"{_line_of(request)}\n")
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self._out.close()


class RecentSpans(SpanExporter):
    """Keeps the newest spans of this process, encoded, for whoever asks for those of a trace. Thread-safe.

    Args:
        batch: encodes them.
        most_bytes: of all that is kept; older ones make room.
    """

    def __init__(self, batch: EncodedBatch, most_bytes: int) -> None:
        self._batch = batch
        self._most_bytes = most_bytes
        self._kept: deque[bytes] = deque()
        self._bytes = 0
        self._lock = Lock()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See `SpanExporter`."""
        data = self._batch.encode(spans)
        with self._lock:
            self._kept.append(data)
            self._bytes += len(data)
            while self._bytes > self._most_bytes:
                self._bytes -= len(self._kept.popleft())
        return SpanExportResult.SUCCESS

    def about(self, traces: Sequence[str]) -> list[str]:
        """Spans of these traces, and those that link to one, as lines of a span directory.

        Args:
            traces: ids in hex.
        """
        wanted = {bytes.fromhex(trace_id) for trace_id in traces}
        with self._lock:
            kept = [data for data in self._kept if any(trace_id in data for trace_id in wanted)]
        lines = []
        for request in map(ExportTraceServiceRequest.FromString, kept):
            for scope in (scope for resource in request.resource_spans for scope in resource.scope_spans):
                found = [
                    span
                    for span in scope.spans
                    if span.trace_id in wanted or any(link.trace_id in wanted for link in span.links)
                ]
                del scope.spans[:]
                scope.spans.extend(found)
            lines.append(_line_of(request))
        return lines


def _line_of(request: ExportTraceServiceRequest) -> str:
    entry = MessageToDict(request, use_integers_for_enums=True)
    for resource in entry["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope.get("spans", ()):
                for span_or_link in (span, *span.get("links", ())):
                    _write_ids_in_hex(span_or_link)
    return json.dumps(entry, ensure_ascii=False)


def _write_ids_in_hex(span_or_link: dict[str, Any]) -> None:
    """OTLP's JSON has identifiers in hex, where protobuf's has base64."""
    for name in ("traceId", "spanId", "parentSpanId"):
        if name in span_or_link:
            span_or_link[name] = b64decode(span_or_link[name]).hex()


class _Finished:
    """Lets spans that are bytes into the SDK's queue, which asks whether a span was sampled."""

    __slots__ = ("encoded",)
    context = SdkSpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

    def __init__(self, spans: EncodableSpans) -> None:
        self.encoded = spans.encoded


@dataclass(frozen=True)
class Tracing:
    """What the process traces: whether at all, and whether an unsampled parent decides for its children."""

    enabled: bool
    parent_decides: bool
    provider: TracerProvider | None = None
    processors: tuple[BatchSpanProcessor, ...] = ()
    recent: RecentSpans | None = None

    def samples(self, trace_id: bytes) -> bool:
        """What the sampler says of a trace that begins here."""
        if self.provider is None:
            return self.enabled
        result = self.provider.sampler.should_sample(Context(), int.from_bytes(trace_id), "process")
        return result.decision is Decision.RECORD_AND_SAMPLE

    def emit(self, spans: EncodableSpans) -> None:
        """Queue finished spans for export; never waits, and drops the oldest where the queue is full."""
        for processor in self.processors:
            processor.on_end(cast("ReadableSpan", _Finished(spans)))

    def spans_about(self, traces: Sequence[str]) -> list[str]:
        """See `RecentSpans.about`; none where nothing is kept."""
        return [] if self.recent is None else self.recent.about(traces)

    def flush(self) -> None:
        """Export what is buffered, and stop."""
        for processor in self.processors:
            processor._batch_processor.shutdown(SPANS_STOP_MS)  # noqa: SLF001 - its own `shutdown` waits for 30 s
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
    for said in unsupported(otel):
        log.warning(log_event("telemetry_not_supported", variable=said))
    protocol = otlp_protocol("TRACES", otel)
    has_receiver = protocol is not None or settings.span_directory is not None or settings.recent_spans_mib > 0
    if is_disabled(otel) or not has_receiver:
        return Tracing(enabled=False, parent_decides=True)
    provider = TracerProvider(resource=Resource.create({"service.name": service_name(role, otel)}))
    if provider.sampler is ALWAYS_OFF:  # and no thread waits for spans that never come
        return Tracing(enabled=False, parent_decides=False)
    batch = EncodedBatch(provider.resource)
    processors = []
    if protocol is not None:
        exporter = _span_exporter(protocol, batch, otel)
        queued = None if "OTEL_BSP_MAX_QUEUE_SIZE" in otel else QUEUED_MESSAGES
        exported = None if "OTEL_BSP_MAX_EXPORT_BATCH_SIZE" in otel or queued is None else EXPORTED_MESSAGES
        processors.append(BatchSpanProcessor(exporter, queued, max_export_batch_size=exported))
    if settings.span_directory is not None:
        file = _FileExporter(batch, settings.span_directory / f"{role}-{getpid()}.jsonl")
        processors.append(BatchSpanProcessor(file, QUEUED_MESSAGES, FILE_DELAY_MS, EXPORTED_MESSAGES))
    recent = RecentSpans(batch, settings.recent_spans_mib * MIB) if settings.recent_spans_mib else None
    if recent is not None:
        processors.append(BatchSpanProcessor(recent, QUEUED_MESSAGES, FILE_DELAY_MS, EXPORTED_MESSAGES))
    for processor in processors:
        provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)
    return Tracing(
        enabled=True,
        parent_decides=isinstance(provider.sampler, ParentBased),
        provider=provider,
        processors=tuple(processors),
        recent=recent,
    )


def start_metrics(role: str, otel: Mapping[str, str]) -> Metrics:
    """Install the meter provider of this process, where measurements have somewhere to go; see `start_tracing`."""
    if is_disabled(otel) or (exporter := _metric_exporter(otel)) is None:
        return Metrics()
    provider = MeterProvider(
        [PeriodicExportingMetricReader(exporter)], resource=Resource.create({"service.name": service_name(role, otel)})
    )
    metrics.set_meter_provider(provider)
    observe_process()
    return Metrics(provider)


def try_export(otel: Mapping[str, str], timeout_s: float) -> dict[Signal, bool]:
    """Whether each signal that has somewhere to go was taken there within a time each; tries with nothing in it."""
    tried: dict[Signal, bool] = {}
    if is_disabled(otel):
        return tried
    if (protocol := otlp_protocol("TRACES", otel)) is not None:
        spans = _span_exporter(protocol, EncodedBatch(Resource.get_empty()), otel, timeout_s)
        tried["TRACES"] = spans.export([]) is SpanExportResult.SUCCESS
        spans.shutdown()
    if (exporter := _metric_exporter(otel, timeout_s)) is not None:
        tried["METRICS"] = exporter.export(MetricsData([])) is MetricExportResult.SUCCESS
        exporter.shutdown()
    return tried


def _span_exporter(
    protocol: str, batch: EncodedBatch, otel: Mapping[str, str], timeout_s: float | None = None
) -> SpanExporter:
    own = otel.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or None
    exporter = _HttpExporter if protocol.startswith("http") else _GrpcExporter
    return exporter(batch, own, timeout_s)


def _metric_exporter(otel: Mapping[str, str], timeout_s: float | None = None) -> MetricExporter | None:
    protocol = otlp_protocol("METRICS", otel)
    if protocol is None:
        return None
    exporter = HttpMetricExporter if protocol.startswith("http") else GrpcMetricExporter
    return exporter(timeout=timeout_s)
