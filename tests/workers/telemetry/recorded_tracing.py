"""Tracing into memory: what was emitted as OTLP bytes, read back as the SDK's spans; and the SDK's own."""

from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from workers.telemetry.export import Tracing
from workers.telemetry.span_encoding import EncodableSpans

ROOT_ON = ParentBased(ALWAYS_ON)


class RecordedTracing(Tracing):
    """Keeps what is emitted. A sampler that follows the parent lets it decide."""

    _emitted: list[EncodableSpans]

    def __init__(self, sampler: Sampler = ROOT_ON, *, enabled: bool = True, parent_decides: bool = True) -> None:
        super().__init__(enabled, parent_decides, TracerProvider(sampler=sampler))
        object.__setattr__(self, "_emitted", [])

    def emit(self, spans: EncodableSpans) -> None:
        """Keep them."""
        self._emitted.append(spans)

    @property
    def is_empty(self) -> bool:
        """True while nothing was emitted."""
        return not self._emitted

    def finished(self, name: str = "") -> list[ReadableSpan]:
        """Finished spans whose name begins so, in the order of their ends."""
        encoded = b"".join([spans.encoded() for spans in self._emitted])
        spans = [_readable(span) for span in ScopeSpans.FromString(encoded).spans]
        return [span for span in spans if span.name.startswith(name)]

    def by_name(self) -> dict[str, ReadableSpan]:
        """The last span of each name."""
        return {span.name: span for span in self.finished()}


def _readable(span: ProtoSpan) -> ReadableSpan:
    parent = None
    if span.parent_span_id:
        parent = _context(span.trace_id, span.parent_span_id, is_remote=bool(span.flags & 0x200))
    return ReadableSpan(
        span.name,
        _context(span.trace_id, span.span_id, span.trace_state),
        parent,
        attributes=_attributes(span.attributes),
        links=[Link(_context(link.trace_id, link.span_id), _attributes(link.attributes)) for link in span.links],
        kind=SpanKind(span.kind - 1),
        status=Status(StatusCode(span.status.code), span.status.message or None),
        start_time=span.start_time_unix_nano,
        end_time=span.end_time_unix_nano,
    )


def _context(trace: bytes, span: bytes, state: str = "", *, is_remote: bool = False) -> SpanContext:
    return SpanContext(
        int.from_bytes(trace),
        int.from_bytes(span),
        is_remote=is_remote,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
        trace_state=TraceState.from_header([state]),
    )


def _attributes(given: Any) -> dict[str, Any]:
    told = {item.key: _value(item) for item in given}
    assert len(told) == len(given), f"told twice: {[item.key for item in given]}"
    return told


def _value(item: KeyValue) -> Any:
    return getattr(item.value, str(item.value.WhichOneof("value")))
