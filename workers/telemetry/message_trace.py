"""Trace state of messages: what came with them, whether they are sampled, and what happens to those that are.

A message whose producer decided against sampling costs one look at its headers. `workers.telemetry.message_sampling`
decides about all others, and `workers.telemetry.message_spans` makes the spans.
"""

from collections.abc import Iterable, Mapping, Sequence

from pipelines.guard import Judged
from schemas.dead_letter import DeadLetter
from schemas.record import SourceRecord
from schemas.verdict_writer import VerdictText
from workers.telemetry.message_sampling import MessageSampling, TraceHeaders
from workers.telemetry.message_spans import MessageSpans, StreamSpans
from workers.telemetry.span_encoding import names_a_span

MAX_BYTES = 8_192  # W3C's bound of baggage, and more than the others need; what is longer is not passed on
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


class StreamTracer:
    """Begins the traces of one consumer's messages, and hands on what happens to those that are sampled.

    Args:
        enabled: False where no exporter is configured; then nothing is created.
    """

    def __init__(self, spans: StreamSpans, sampling: MessageSampling, *, enabled: bool) -> None:
        self._spans = spans
        self._sampling = sampling
        self._enabled = enabled
        self._completed: list[bytes] = []

    def start(self, record: SourceRecord, polled_ns: int) -> MessageTrace:
        """Trace state of a consumed record. Its process span begins when the poll returned."""
        incoming = _trace_headers(record)
        message = MessageTrace(incoming, polled_ns)
        if not self._enabled or (self._sampling.parent_decides and incoming and _is_unsampled(incoming[0][1])):
            return message
        if (spans := self._sampling.at_poll(record, incoming, polled_ns)) is not None:
            message.sample(spans)
        return message

    def slow_before_ns(self, now_ns: int) -> int:
        """A message that was polled by then is slow now."""
        return now_ns - self._sampling.late.slow_ns

    def decided(
        self,
        message: MessageTrace,
        record: SourceRecord,
        outcome: VerdictText | DeadLetter,
        now_ns: int,
        answers: Sequence[Judged] = (),
    ) -> None:
        """Say what became of a message, and how the guard answered; the last call counts.

        One that was not sampled gets its spans now, if it ends in a way that is always traced.
        """
        if message.spans is None and self._enabled:
            spans = self._sampling.for_end(record, message.incoming, message.started_ns, outcome, now_ns)
            if spans is not None:
                message.sample(spans)
        if message.spans is not None:
            message.spans.judged(answers)
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
        if value is not None and len(value) > MAX_BYTES:
            continue
        if name == "traceparent":
            parent = value if names_a_span(value) else None  # once and for all: no trace leads nowhere
        elif name == "tracestate":
            state = value
        elif name == "baggage":
            baggage = value
    own: TraceHeaders = () if parent is None else (("traceparent", parent),)
    if state is not None and own:
        own = (*own, ("tracestate", state))
    return own if baggage is None else (*own, ("baggage", baggage))


def _is_unsampled(traceparent: bytes) -> bool:
    return len(traceparent) == _TRACEPARENT_LENGTH and traceparent[-1] in _EVEN_DIGITS
