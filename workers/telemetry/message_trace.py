"""The trace state of messages, and the spans of what is done for many at once: `poll`, `parse`, `send`, `commit`.

A message whose producer decided against sampling costs one look at its headers. If it ends in a way that is always
traced, its spans are made then (`workers.telemetry.late_sampling`). A span of many messages is a trace of its own that
links to each sampled one. Names and attributes are those of the OpenTelemetry messaging conventions (semconv 1.44).
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from opentelemetry.trace import SpanKind

from schemas.dead_letter import DeadLetter
from schemas.record import SourceRecord
from schemas.verdict_writer import VerdictText
from workers.telemetry.late_sampling import LateSampling
from workers.telemetry.message_spans import MessageSpans, PartitionSpans
from workers.telemetry.span_encoding import (
    MAX_LINKS,
    Attribute,
    Emit,
    EncodedSpans,
    SpanContext,
    encode_attributes,
    encode_link,
    encode_name,
    encode_span,
    new_root,
    read_traceparent,
)

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


class StreamTracer:
    """Makes the spans of one consumer.

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
        self._emit = emit
        self._samples = samples
        self._enabled = enabled
        self._parent_decides = parent_decides
        self._as_child = as_child
        self._group = group
        self._late = late
        self._partitions: dict[tuple[str, int], PartitionSpans] = {}
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
            message.sample(self._spans(record, parent, own, polled_ns))
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
        spans = self._spans(record, parent, own, message.started_ns)
        spans.note("moderation.sampled_for", why)
        message.sample(spans)

    def replaced(self, message: MessageTrace, record: SourceRecord, outcome: DeadLetter) -> None:
        """Say what became of a message after all: its outcome could not be published and gave way to this one."""
        if message.spans is None:
            self.sample_late(message, record, outcome, time.time_ns())
        if message.spans is not None:
            message.spans.decided(outcome)

    def polled(self, started_ns: int, records: Sequence[SourceRecord], traces: Iterable[MessageTrace]) -> None:
        """One `poll` span for a poll that returned sampled records, linked to each of them.

        A span holds 128 links at most, so a poll of more sampled records gets a further span for each 128.
        """
        links = [
            encode_link(message.spans.context, self._link_attributes(record))
            for record, message in zip(records, traces, strict=True)
            if message.spans is not None
        ]
        topics = sorted({record.topic for record in records})
        attributes = {**self._of_group("poll", "receive"), "messaging.batch.message_count": len(records)}
        self._linked(f"poll {','.join(topics)}", SpanKind.CLIENT, attributes | _shared(topics), links, started_ns)

    def parsed(self, started_ns: int, messages: Sequence[MessageTrace], batch_size: int) -> None:
        """One `parse` span for the sampled messages of a chunk whose answers were read and ruled on."""
        links = [message.spans.link for message in messages if message.spans is not None]
        self._linked("parse", SpanKind.INTERNAL, {"moderation.batch.size": batch_size}, links, started_ns)

    def acknowledged(self, messages: Iterable[MessageTrace]) -> None:
        """End the spans of sampled messages; one `send` span for each topic, linked to what was created for it."""
        created: defaultdict[str, list[tuple[int, bytes]]] = defaultdict(list)
        for message in messages:
            if message.spans is not None:
                creation = message.spans.end()
                if creation is not None and message.spans.created_for is not None:
                    created[message.spans.created_for].append(creation)
        for topic, creations in created.items():
            attributes: dict[str, Attribute] = {
                "messaging.system": "kafka",
                "messaging.operation.name": "send",
                "messaging.operation.type": "send",
                "messaging.destination.name": topic,
                "messaging.batch.message_count": len(creations),
            }
            links = [link for _, link in creations]
            self._linked(f"send {topic}", SpanKind.CLIENT, attributes, links, min(creations)[0])

    def completed(self, message: MessageTrace) -> None:
        """Note a message whose offset the next commit covers."""
        if message.spans is not None:
            self._completed.append(message.spans.link)

    def committed(self, topics: Iterable[str], started_ns: int) -> None:
        """One `commit` span for a commit, linked to the sampled messages completed since the last."""
        links, self._completed = self._completed, []
        names = sorted(topics)
        attributes = self._of_group("commit", "settle") | _shared(names)
        self._linked(f"commit {','.join(names)}", SpanKind.CLIENT, attributes, links, started_ns)

    def _spans(
        self, record: SourceRecord, parent: SpanContext | None, own: SpanContext, started_ns: int
    ) -> MessageSpans:
        is_child = parent is not None and self._as_child
        span = parent.span if parent is not None and is_child else b""
        links = b"" if parent is None or is_child else encode_link(parent.encoded())
        return MessageSpans(self._emit, own, span, links, started_ns, self._partition(record), record.offset)

    def _partition(self, record: SourceRecord) -> PartitionSpans:
        where = record.topic, record.partition
        if where not in self._partitions:
            partition: dict[str, Attribute] = {
                "messaging.destination.name": record.topic,
                "messaging.destination.partition.id": str(record.partition),
            }
            self._partitions[where] = PartitionSpans(
                encode_name(f"process {record.topic}", SpanKind.CONSUMER),
                encode_attributes(self._of_group("process", "process") | partition),
                encode_attributes(partition, of_link=True),
            )
        return self._partitions[where]

    def _link_attributes(self, record: SourceRecord) -> bytes:
        offset = encode_attributes({"messaging.kafka.offset": record.offset}, of_link=True)
        return self._partition(record).of_link + offset

    def _of_group(self, name: str, kind: str) -> dict[str, Attribute]:
        return {
            "messaging.system": "kafka",
            "messaging.operation.name": name,
            "messaging.operation.type": kind,
            "messaging.consumer.group.name": self._group,
        }

    def _linked(
        self, name: str, kind: SpanKind, attributes: dict[str, Attribute], links: Sequence[bytes], started_ns: int
    ) -> None:
        times = started_ns, time.time_ns()
        for start in range(0, len(links), MAX_LINKS):
            some = links[start : start + MAX_LINKS]
            named = encode_name(name, kind)
            span = encode_span(new_root().encoded(), b"", named, times, encode_attributes(attributes), some)
            self._emit(EncodedSpans(span))


def _shared(topics: Sequence[str]) -> dict[str, Attribute]:
    """The destination, where all messages of a span have the same one."""
    return {"messaging.destination.name": topics[0]} if len(topics) == 1 else {}


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
