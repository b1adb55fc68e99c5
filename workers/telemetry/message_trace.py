"""Trace state of messages: what came with them, whether they are sampled, and for what end they are traced although
nobody asked for it: dead letters, verdicts that are not Safe, and slow messages. Decision 0011 says why.

A message whose producer decided against sampling costs one look at its headers; if it ends in a way that is always
kept, its spans are made then. Makes no spans itself; `workers.telemetry.message_spans` does.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from schemas.dead_letter import DeadLetter
from schemas.record import SourceRecord
from schemas.verdict import Severity
from schemas.verdict_writer import VerdictText
from workers.settings.sections import MessageEnd
from workers.telemetry.message_spans import MessageSpans, StreamSpans
from workers.telemetry.span_encoding import Emit, SpanContext, new_root, read_traceparent

TraceHeaders = tuple[tuple[str, bytes], ...]
MAX_BAGGAGE = 8_192  # bytes, as W3C has it
_NO_CARRIER: Mapping[str, str] = {}
_TRACEPARENT_LENGTH = 55
_EVEN_DIGITS = b"02468ace"  # the last bit of the flags is the sampling decision; others, as the random id's, may be set


class MessageTrace:
    """Trace state of one message: the headers that it came with, and its spans where it is sampled."""

    __slots__ = ("carrier", "incoming", "is_sampled", "spans", "started_ns")

    def __init__(self, incoming: TraceHeaders, started_ns: int) -> None:
        self.incoming = incoming
        self.started_ns = started_ns
        self.is_sampled = False
        self.spans: MessageSpans | None = None
        self.carrier: Mapping[str, str] = _NO_CARRIER

    def sample(self, spans: MessageSpans) -> None:
        """Make spans of it from now on."""
        self.spans = spans
        self.is_sampled = True
        self.carrier = spans.carrier

    def headers_of_send(self, topic: str) -> list[tuple[str, bytes]]:
        """Trace headers of the outgoing record; the same for each attempt to send it.

        Without spans the incoming ones are passed on, so that the path is not cut. Baggage is passed on anyway.
        """
        if self.spans is None:
            return list(self.incoming)
        headers = self.spans.headers_of_send(topic)
        if self.incoming and self.incoming[-1][0] == "baggage":
            headers.append(self.incoming[-1])
        return headers

    def end(self) -> None:
        """End its spans early: the partition is gone."""
        if self.spans is not None:
            self.spans.end()


class LateSampling:
    """The rule.

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


class StreamTracer:
    """Decides what is traced of one consumer's messages, and hands on what happens to those that are.

    Args:
        emit: takes finished spans.
        samples: what the sampler says of a trace that begins here.
        enabled: False where no exporter is configured; then nothing is created.
        parent_decides: True where the sampler follows the parent's decision.
        as_child: the process span is the producer span's child, else linked to it.
        group: consumer group.
        late: which messages are traced for their end.
    """

    def __init__(
        self,
        emit: Emit,
        samples: Callable[[bytes], bool],
        *,
        enabled: bool,
        parent_decides: bool,
        as_child: bool,
        group: str,
        late: LateSampling,
    ) -> None:
        self._samples = samples
        self._enabled = enabled
        self._parent_decides = parent_decides
        self._as_child = as_child
        self._late = late
        self._spans = StreamSpans(emit, as_child=as_child, group=group)
        self._completed: list[bytes] = []

    def start(self, record: SourceRecord, polled_ns: int) -> MessageTrace:
        """Trace state of a consumed record. Its process span begins when the poll returned."""
        incoming = _trace_headers(record)
        message = MessageTrace(incoming, polled_ns)
        if not self._enabled or (self._parent_decides and incoming and _is_unsampled(incoming[0][1])):
            return message
        parent = _parent_of(incoming)
        # A parent that decides and has not decided against it has decided for it.
        own = parent.child() if parent is not None and self._as_child else new_root()
        if (parent is not None and self._as_child and self._parent_decides) or self._samples(own.trace):
            message.sample(self._spans.of_message(record, parent, own, polled_ns))
        return message

    def slow_before_ns(self, now_ns: int) -> int:
        """A message that was polled by then is slow now."""
        return now_ns - self._late.slow_ns

    def sample_late(
        self, message: MessageTrace, record: SourceRecord, outcome: VerdictText | DeadLetter, now_ns: int
    ) -> None:
        """Make the spans of a message that was not sampled after all, where it ends in a way that is always kept."""
        why = self._late.why(outcome, now_ns - message.started_ns) if self._enabled else None
        if why is None:
            return
        parent = _parent_of(message.incoming)
        own = parent.child() if parent is not None and self._as_child else new_root()
        spans = self._spans.of_message(record, parent, own, message.started_ns)
        spans.note("moderation.sampled_for", why)
        message.sample(spans)

    def replaced(self, message: MessageTrace, record: SourceRecord, outcome: DeadLetter) -> None:
        """Say what became of a message after all: its outcome could not be published and gave way to this one."""
        if message.spans is None:
            self.sample_late(message, record, outcome, time.time_ns())
        if message.spans is not None:
            message.spans.decided(outcome)

    def polled(self, started_ns: int, records: Sequence[SourceRecord], traces: Sequence[MessageTrace]) -> None:
        """Tell of a poll, where it returned sampled records."""
        self._spans.polled(started_ns, records, [message.spans for message in traces])

    def parsed(self, started_ns: int, messages: Iterable[MessageTrace], batch_size: int) -> None:
        """Tell of a chunk whose answers were read and ruled on, where sampled messages are in it."""
        if sampled := [message.spans for message in messages if message.spans is not None]:
            self._spans.parsed(started_ns, sampled, batch_size)

    def acknowledged(self, messages: Iterable[MessageTrace]) -> None:
        """End the spans of sampled messages, whose outcomes the broker has."""
        if sampled := [message.spans for message in messages if message.spans is not None]:
            self._spans.acknowledged(sampled)

    def completed(self, message: MessageTrace) -> None:
        """Note a message whose offset the next commit covers."""
        if message.spans is not None:
            self._completed.append(message.spans.link)

    def committed(self, topics: Iterable[str], started_ns: int) -> None:
        """Tell of a commit, where sampled messages were completed since the last."""
        if self._completed:
            links, self._completed = self._completed, []
            self._spans.committed(topics, links, started_ns)


def _trace_headers(record: SourceRecord) -> TraceHeaders:
    """`traceparent` first, `baggage` last; without the first there is no `tracestate`."""
    parent: bytes | None = None
    state: bytes | None = None
    baggage: bytes | None = None
    for name, value in record.headers:  # the last of a name counts, as Kafka's lastHeader
        if name == "traceparent":
            parent = value
        elif name == "tracestate":
            state = value
        elif name == "baggage":
            baggage = value
    own: TraceHeaders = () if parent is None else (("traceparent", parent),)
    if state is not None and own:
        own = (*own, ("tracestate", state))
    return own if baggage is None or len(baggage) > MAX_BAGGAGE else (*own, ("baggage", baggage))


def _is_unsampled(traceparent: bytes) -> bool:
    return len(traceparent) == _TRACEPARENT_LENGTH and traceparent[-1] in _EVEN_DIGITS


def _parent_of(incoming: TraceHeaders) -> SpanContext | None:
    if not incoming or incoming[0][0] != "traceparent":
        return None
    state = incoming[1][1] if len(incoming) > 1 and incoming[1][0] == "tracestate" else b""
    return read_traceparent(incoming[0][1], state)
