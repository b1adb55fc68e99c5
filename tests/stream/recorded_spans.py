"""A tracer of one consumer whose spans stay in memory, and records for it."""

from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler

from schemas.record import Headers, SourceRecord
from workers.stream.message_trace import StreamTracer

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE_ID}-{SPAN_ID}-01".encode()
UNSAMPLED = f"00-{TRACE_ID}-{SPAN_ID}-00".encode()
TEXT = b"private words"


class Tracing:
    """A tracer of one consumer, and what it traced."""

    def __init__(self, patch: pytest.MonkeyPatch, sampler: Sampler) -> None:
        self._exporter = InMemorySpanExporter()
        self.created = 0
        provider = TracerProvider(sampler=sampler, span_limits=SpanLimits(max_links=10**6))
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        patch.setattr(trace, "get_tracer", lambda name: Counting(self, provider.get_tracer(name)))

    def tracer(self, *, enabled: bool = True, parent_decides: bool = True, as_child: bool = True) -> StreamTracer:
        return StreamTracer(enabled=enabled, parent_decides=parent_decides, as_child=as_child, group="weir")

    def finished(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.finished()}


class Counting:
    """Counts what is asked of a tracer, recorded or not."""

    def __init__(self, tracing: Tracing, tracer: trace.Tracer) -> None:
        self._tracing = tracing
        self._tracer = tracer

    def start_span(self, *args: Any, **kwargs: Any) -> trace.Span:
        self._tracing.created += 1
        return self._tracer.start_span(*args, **kwargs)


def record(*headers: tuple[str, bytes], offset: int = 9) -> SourceRecord:
    given: Headers = headers
    return SourceRecord("in", 5, offset, 1, b"private key", TEXT, given)


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return dict(span.attributes or {})
