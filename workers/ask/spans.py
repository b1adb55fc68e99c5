"""The span of one request, in the caller's trace; it leads to the batch that judged."""

import time
from collections.abc import Mapping

from opentelemetry.trace import SpanKind

from workers.telemetry.export import Tracing
from workers.telemetry.span_encoding import (
    EncodedSpans,
    SpanContext,
    encode_attributes,
    encode_name,
    encode_span,
    new_root,
    read_traceparent,
)

MAX_HEADER = 8_192
_SAMPLED = 1


class AskSpan:
    """One request.

    Args:
        tracing: of this process.
        route: of the request.
        headers: its own.
        method: of HTTP.

    Attributes:
        carrier: W3C trace context that rides along to the batch; empty where the request is not sampled.
        headers: what the answer says of the trace.
    """

    def __init__(self, tracing: Tracing, route: str, headers: Mapping[str, str], method: str = "POST") -> None:
        self._tracing = tracing
        self._route = route
        self._method = method
        self._started_ns = time.time_ns()
        given = headers.get("traceparent", "")[:MAX_HEADER]
        state = headers.get("tracestate", "")
        parent = (
            read_traceparent(given.encode("latin-1", "replace"), state.encode("latin-1", "replace")) if given else None
        )
        own = new_root() if parent is None else parent.child()
        self._parent = parent
        self._own: SpanContext | None = own if tracing.enabled and self._samples(own, given, parent) else None
        self.carrier: Mapping[str, str] = {} if self._own is None else self._own.carrier()
        passed_on = {"traceparent": given} if parent is not None else {}
        self.headers: Mapping[str, str] = self.carrier or passed_on

    def end(self, status: int) -> None:
        """It was answered with an HTTP status."""
        if self._own is None:
            return
        attributes = encode_attributes(
            {
                "http.request.method": self._method,
                "http.route": self._route,
                "http.response.status_code": status,
                **({"error.type": str(status)} if status >= 500 else {}),
            }
        )
        parent = b"" if self._parent is None else self._parent.span
        named = encode_name(f"{self._method} {self._route}", SpanKind.SERVER)
        times = self._started_ns, time.time_ns()
        error = str(status) if status >= 500 else None
        self._tracing.emit(
            EncodedSpans(
                encode_span(
                    self._own.encoded(), parent, named, times, attributes, error=error, is_parent_remote=bool(parent)
                )
            )
        )

    def _samples(self, own: SpanContext, given: str, parent: SpanContext | None) -> bool:
        if parent is None or not self._tracing.parent_decides:
            return self._tracing.samples(own.trace)
        return bool(int(given.strip().split("-")[3][:2], 16) & _SAMPLED)
