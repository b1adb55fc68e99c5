"""The span of one GPU batch, `chat M`, and the span of each message's wait for it, `queue`.

The batch's span is named as the GenAI conventions name a call of a model, and links to each sampled message; the wait
is in the message's own trace. A span holds 128 links at most, so a batch of more sampled messages has further spans of
the same times, its children. Each message's span links back to the first (`carrier`). Never holds content.
"""

import time
from collections.abc import Iterable, Mapping

from opentelemetry.trace import SpanKind

from workers.telemetry.export import Tracing
from workers.telemetry.span_encoding import (
    MAX_LINKS,
    Attribute,
    EncodedSpans,
    SpanContext,
    encode_attributes,
    encode_link,
    encode_name,
    encode_span,
    new_root,
    read_traceparent,
)

_QUEUE = encode_name("queue", SpanKind.INTERNAL)


def trace_wait(tracing: Tracing, carrier: Mapping[str, str], queue_ms: float, batch_started_ns: int) -> None:
    """Tell of a message's wait for its batch, where the message is sampled and has waited.

    Args:
        tracing: of this process.
        carrier: W3C trace context of the message.
        queue_ms: how long it waited; 0 where its answer came from a batch that was running already.
        batch_started_ns: when that ended, in nanoseconds since the epoch.
    """
    if not (tracing.enabled and carrier and queue_ms):
        return
    message = read_traceparent(carrier["traceparent"].encode(), carrier.get("tracestate", "").encode())
    if message is not None:
        times = batch_started_ns - round(queue_ms * 1e6), batch_started_ns
        own = message.child().encoded()
        tracing.emit(EncodedSpans(encode_span(own, message.span, _QUEUE, times, b"", is_parent_remote=True)))


class BatchSpan:
    """One batch that is run.

    Args:
        tracing: of this process.
        model: what runs it.
        carriers: W3C trace context of its messages; empty ones are not sampled.
        attributes: size and tokens of the batch.

    Attributes:
        carrier: W3C trace context of the batch; empty where none of its messages is sampled.
        started_ns: when it began, in nanoseconds since the epoch.
    """

    def __init__(
        self, tracing: Tracing, model: str, carriers: Iterable[Mapping[str, str]], attributes: Mapping[str, Attribute]
    ) -> None:
        self._tracing = tracing
        self._model = model
        self._attributes = attributes
        self._links: list[bytes] = []
        if tracing.enabled:
            contexts = [read_traceparent(carrier["traceparent"].encode()) for carrier in carriers if carrier]
            self._links = [encode_link(context.encoded()) for context in contexts if context is not None]
        self._own: SpanContext | None = new_root() if self._links else None
        self.started_ns = time.time_ns()
        self.carrier: Mapping[str, str] = {} if self._own is None else self._own.carrier()

    def end(self, error: str | None = None) -> None:
        """The batch has been run, or has raised `error`."""
        if self._own is None:
            return
        times = self.started_ns, time.time_ns()
        attributes = encode_attributes(
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "weir",
                "gen_ai.request.model": self._model,
                **self._attributes,
                **({} if error is None else {"error.type": error}),
            }
        )
        own, parent = self._own, b""
        named = encode_name(f"chat {self._model}", SpanKind.INTERNAL)
        for start in range(0, len(self._links), MAX_LINKS):
            links = self._links[start : start + MAX_LINKS]
            span = encode_span(own.encoded(), parent, named, times, attributes, links, error)
            self._tracing.emit(EncodedSpans(span))
            own, parent = self._own.child(), self._own.span
