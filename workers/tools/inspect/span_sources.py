"""Spans from a running application itself: its replicas keep their newest, see `telemetry.recent_spans_mib`."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from workers.extras import extras_named
from workers.telemetry.span_encoding import SpanContext
from workers.tools.inspect.trace import ReadSpan, spans_in, traces_beside

if TYPE_CHECKING:
    from workers.tools.inspect.replicas import Consumers


def spans_of_application(contexts: Sequence[SpanContext], timeout_s: float) -> list[ReadSpan]:
    """What the application's consumers and guard replicas still have of these traces.

    Args:
        contexts: of the records' `traceparent`.
        timeout_s: that the application has to answer.

    Raises:
        ModerationError: it does not answer; says why.
    """
    with extras_named():
        from workers.tools.inspect.replicas import joined_application  # Ray takes seconds
    with joined_application(timeout_s) as application:
        asked = {context.trace.hex() for context in contexts}
        spans = _asked(application, asked)
        # What a kept completion was made by, and what a linked message links to, are in traces of their own.
        further = set().union(*(traces_beside(spans, context) for context in contexts)) - asked
        if further:
            spans += _asked(application, further)
    return list({(span.trace, span.span): span for span in spans}.values())


def _asked(application: "Consumers", traces: Collection[str]) -> list[ReadSpan]:
    method, wanted = "spans_about", sorted(traces)
    answers = [*application.ask(method, wanted), *application.ask_guards(method, wanted)]
    return spans_in(line for answer in answers if isinstance(answer, list) for line in answer)
