"""A tracer of one consumer whose spans stay in memory, and records for it."""

from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import Sampler

from schemas.record import Headers, SourceRecord
from tests.workers.telemetry.recorded_tracing import ROOT_ON, RecordedTracing
from workers.settings.sections import MessageEnd
from workers.telemetry.message_sampling import LateSampling, MessageSampling
from workers.telemetry.message_spans import StreamSpans
from workers.telemetry.message_trace import MessageTrace, StreamTracer

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE_ID}-{SPAN_ID}-01".encode()
UNSAMPLED = f"00-{TRACE_ID}-{SPAN_ID}-00".encode()
TEXT = b"private words"
POLLED_NS = 1_000


class Consumer:
    """A tracer of one consumer, and what it traced."""

    def __init__(
        self,
        sampler: Sampler = ROOT_ON,
        *,
        enabled: bool = True,
        parent_decides: bool = True,
        as_child: bool = True,
        always: tuple[MessageEnd, ...] = (),
    ) -> None:
        self.tracing = RecordedTracing(sampler, enabled=enabled, parent_decides=parent_decides)
        spans = StreamSpans(self.tracing.emit, as_child=as_child, group="weir")
        sampling = MessageSampling(
            spans,
            self.tracing.samples,
            parent_decides=parent_decides,
            as_child=as_child,
            late=LateSampling(always, 1.0),
        )
        self.tracer = StreamTracer(spans, sampling, enabled=enabled)

    def start(self, *headers: tuple[str, bytes], offset: int = 9) -> MessageTrace:
        """A message that came with these headers."""
        return self.tracer.start(record(*headers, offset=offset), POLLED_NS)

    def spans(self) -> dict[str, ReadableSpan]:
        """The last finished span of each name."""
        return self.tracing.by_name()

    def finished(self, name: str = "") -> list[ReadableSpan]:
        """Finished spans whose name begins so."""
        return self.tracing.finished(name)


def record(*headers: tuple[str, bytes], offset: int = 9) -> SourceRecord:
    """A record of partition 5 of topic `in`."""
    given: Headers = headers
    return SourceRecord("in", 5, offset, 1, b"private key", TEXT, given)


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    """Of a span."""
    return dict(span.attributes or {})
