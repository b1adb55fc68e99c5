"""Decides which messages are traced: by their producer, by the sampler, or for an end that is always traced although
nobody asked for it: dead letters, verdicts that are not Safe, and slow messages. Decision 0011 says why.

If a message that was not sampled ends so, its spans are made then.
"""

from collections.abc import Callable, Collection

from schemas.dead_letter import DeadLetter
from schemas.record import SourceRecord
from schemas.verdict import Severity
from schemas.verdict_writer import VerdictText
from workers.settings.sections import MessageEnd
from workers.telemetry.message_spans import MessageSpans, StreamSpans
from workers.telemetry.span_encoding import SpanContext, new_root, read_traceparent

TraceHeaders = tuple[tuple[str, bytes], ...]


class LateSampling:
    """Which messages are traced for their end.

    Args:
        ends: those that are always traced.
        slow_s: a message that took this long from its poll to its verdict is slow.

    Attributes:
        slow_ns: the same in nanoseconds; centuries where slow messages are not always traced.
    """

    def __init__(self, ends: Collection[MessageEnd], slow_s: float) -> None:
        self._dead_letters = "dead_letter" in ends
        self._not_safe = "not_safe" in ends
        self.slow_ns = int(slow_s * 1e9) if "slow" in ends else 1 << 63

    def why(self, outcome: VerdictText | DeadLetter, took_ns: int) -> MessageEnd | None:
        """The end that this message has to be traced for; None where it has none."""
        if type(outcome) is VerdictText:  # not isinstance: pydantic answers that of a dead letter in Python
            if self._not_safe and outcome.severity is not Severity.SAFE:
                return "not_safe"
        elif self._dead_letters:
            return "dead_letter"
        return "slow" if took_ns >= self.slow_ns else None


class MessageSampling:
    """Begins the spans of messages that are sampled.

    Args:
        spans: of the consumer.
        samples: what the sampler says of a trace that begins here.
        parent_decides: True where the sampler follows the parent's decision.
        as_child: the process span is the producer span's child, else linked to it.
        late: which messages are traced for their end.
    """

    def __init__(
        self,
        spans: StreamSpans,
        samples: Callable[[bytes], bool],
        *,
        parent_decides: bool,
        as_child: bool,
        late: LateSampling,
    ) -> None:
        self._spans = spans
        self._samples = samples
        self.parent_decides = parent_decides
        self._as_child = as_child
        self.late = late

    def at_poll(self, record: SourceRecord, incoming: TraceHeaders, polled_ns: int) -> MessageSpans | None:
        """Spans of a message that its producer has not decided against; None where it is not sampled."""
        parent = _parent_of(incoming)
        # A parent that decides and has not decided against it has decided for it.
        own = self._own(parent)
        if (parent is not None and self._as_child and self.parent_decides) or self._samples(own.trace):
            return self._spans.of_message(record, parent, own, polled_ns)
        return None

    def for_end(
        self,
        record: SourceRecord,
        incoming: TraceHeaders,
        started_ns: int,
        outcome: VerdictText | DeadLetter,
        now_ns: int,
    ) -> MessageSpans | None:
        """Spans of a message that was not sampled; None where it does not end in a way that is always traced."""
        why = self.late.why(outcome, now_ns - started_ns)
        if why is None:
            return None
        sender = _parent_of(incoming)
        spans = self._spans.of_message(record, sender, self._own(sender), started_ns)
        spans.note("moderation.sampled_for", why)
        return spans

    def _own(self, parent: SpanContext | None) -> SpanContext:
        return parent.child() if parent is not None and self._as_child else new_root()


def _parent_of(incoming: TraceHeaders) -> SpanContext | None:
    if not incoming or incoming[0][0] != "traceparent":
        return None
    state = incoming[1][1] if len(incoming) > 1 and incoming[1][0] == "tracestate" else b""
    return read_traceparent(incoming[0][1], state)
