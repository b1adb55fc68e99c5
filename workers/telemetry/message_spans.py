"""The spans of sampled messages: `process T`, from the poll that brought it to the acknowledgement, and `create T`;
and those of what is done for many at once: `poll`, `parse`, `send`, `commit`.

Names and attributes are those of the OpenTelemetry messaging conventions (semconv 1.44). Never holds content (P10).
Does not decide what is sampled.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from opentelemetry.trace import SpanKind

from pipelines.guard import Judged
from schemas.dead_letter import DeadLetter
from schemas.errors import ItemError
from schemas.record import SourceRecord
from schemas.verdict import Action, Severity
from schemas.verdict_writer import VerdictText
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


class PartitionSpans(NamedTuple):
    """What all spans of one partition share, encoded: name, attributes, and attributes of links to them."""

    named: bytes
    attributes: bytes
    of_link: bytes


class MessageSpans:
    """Collects the spans of one message, which are emitted once it has ended.

    Args:
        emit: takes them then.
        own: the process span.
        parent: span id of the producer's span, where the process span is its child.
        creation: an encoded link to the producer's span, where it is not; else empty.
        started_ns: when the poll that brought the message returned.
        partition: what the process spans of its partition share.
        offset: of the message.

    Attributes:
        context: of the process span, encoded.
        link: to the process span, encoded.
        created_for: topic of the outgoing record, once there is one.
    """

    __slots__ = (
        "_attributes",
        "_create",
        "_created_ns",
        "_decided",
        "_emit",
        "_ended_ns",
        "_error",
        "_links",
        "_own",
        "_parent",
        "_partition",
        "_started_ns",
        "_traceparent",
        "context",
        "created_for",
        "link",
    )  # fmt: skip

    def __init__(
        self,
        emit: Emit,
        own: SpanContext,
        parent: bytes,
        creation: bytes,
        started_ns: int,
        partition: PartitionSpans,
        offset: int,
    ) -> None:
        self._emit = emit
        self._own = own
        self.context = own.encoded()
        self.link = encode_link(self.context)
        self.created_for: str | None = None
        self._parent = parent
        self._links = creation
        self._started_ns = started_ns
        self._partition = partition
        self._attributes = encode_attributes({"messaging.kafka.offset": offset})
        self._decided = b""
        self._error: str | None = None
        self._traceparent = b""
        self._create = b""  # context of the create span, encoded, once there is one
        self._created_ns = self._ended_ns = 0

    @property
    def carrier(self) -> dict[str, str]:
        """W3C trace context headers of the process span."""
        return self._own.carrier()

    def note(self, name: str, value: Attribute) -> None:
        """Add an attribute to the process span."""
        self._attributes += encode_attributes({name: value})

    def judged(self, answers: Sequence[Judged]) -> None:
        """Say how long the message waited in a replica, and link to the GPU batches that its windows rode in."""
        given = [answer.result for answer in answers if not isinstance(answer.result, ItemError)]
        batches = {answer.carrier["traceparent"]: None for answer in given if answer.carrier}
        for traceparent in islice(batches, MAX_LINKS - 1):  # and one to the producer's span
            self._links += _link_to(traceparent)
        if given:
            guard_ms = max([answer.guard_ms for answer in given])
            told: dict[str, Attribute] = {
                "moderation.queue_ms": max([answer.queue_ms for answer in given]),
                "moderation.guard_ms": guard_ms,
            }
            if not guard_ms and given[0].error is None:
                told["moderation.cache.hit"] = True
            self._attributes += encode_attributes(told)

    def decided(self, outcome: VerdictText | DeadLetter) -> None:
        """Set what became of the message; the last call counts."""
        if isinstance(outcome, VerdictText):
            self._error = None
            self._decided = _attributes_of(outcome.severity, outcome.action)
            self._decided += encode_attributes({"moderation.verdict_id": outcome.verdict_id})
        else:
            self._error = str(outcome.reason)
            self._decided = encode_attributes({"error.type": self._error, "moderation.stage": str(outcome.stage)})

    def headers_of_send(self, topic: str) -> list[tuple[str, bytes]]:
        """W3C trace context of the create span, for the outgoing record; the same for each attempt to send it."""
        if self.created_for != topic:
            create = self._own.child()
            self._create = create.encoded()
            self._traceparent = create.traceparent
            self._created_ns = time.time_ns()
            self.created_for = topic
            if self._ended_ns:  # its partition was lost while it was on its way out
                self._emit(EncodedSpans(self._encoded_create(topic)))
        headers = [("traceparent", self._traceparent)]
        if self._own.state:
            headers.append(("tracestate", self._own.state))
        return headers

    def end(self) -> tuple[int, bytes] | None:
        """End the spans; returns when the outgoing record was created and a link to that, where there is one."""
        if not self._ended_ns:
            self._ended_ns = time.time_ns()
            self._emit(self)
        return (self._created_ns, encode_link(self._create)) if self._create else None

    def encoded(self) -> bytes:
        """See `workers.telemetry.span_encoding.EncodableSpans`."""
        named, attributes, _ = self._partition
        span = encode_span(
            self.context,
            self._parent,
            named,
            (self._started_ns, self._ended_ns),
            attributes + self._attributes + self._decided,
            (self._links,),
            self._error,
            is_parent_remote=True,
        )
        if self.created_for is None or self._created_ns > self._ended_ns:
            return span
        return span + self._encoded_create(self.created_for)

    def _encoded_create(self, topic: str) -> bytes:
        named, attributes = _creation(topic)
        times = self._created_ns, self._created_ns
        return encode_span(self._create, self._own.span, named, times, attributes)


class StreamSpans:
    """The spans of one consumer: those of its messages, and of what is done for many of them at once.

    A span of many messages is a trace of its own that links to each sampled one.

    Args:
        emit: takes finished spans.
        as_child: the process span is the producer span's child, else linked to it.
        group: consumer group.
    """

    def __init__(self, emit: Emit, *, as_child: bool, group: str) -> None:
        self._emit = emit
        self._as_child = as_child
        self._group = group
        self._partitions: dict[tuple[str, int], PartitionSpans] = {}

    def of_message(
        self, record: SourceRecord, parent: SpanContext | None, own: SpanContext, started_ns: int
    ) -> MessageSpans:
        """The spans of a message, from now on."""
        is_child = parent is not None and self._as_child
        span = parent.span if parent is not None and is_child else b""
        links = b"" if parent is None or is_child else encode_link(parent.encoded())
        return MessageSpans(self._emit, own, span, links, started_ns, self._partition(record), record.offset)

    def polled(self, started_ns: int, records: Sequence[SourceRecord], spans: Sequence[MessageSpans | None]) -> None:
        """One `poll` span for a poll that returned sampled records, linked to each of them.

        A span holds 128 links at most, so a poll of more sampled records gets a further span for each 128.
        """
        links = [
            encode_link(message.context, self._link_attributes(record))
            for record, message in zip(records, spans, strict=True)
            if message is not None
        ]
        topics = sorted({record.topic for record in records})
        attributes = {**self._of_group("poll", "receive"), "messaging.batch.message_count": len(records)}
        self._linked(f"poll {','.join(topics)}", SpanKind.CLIENT, attributes | _shared(topics), links, started_ns)

    def parsed(self, started_ns: int, messages: Sequence[MessageSpans], batch_size: int) -> None:
        """One `parse` span for the sampled messages of a chunk whose answers were read and ruled on."""
        links = [message.link for message in messages]
        self._linked("parse", SpanKind.INTERNAL, {"moderation.batch.size": batch_size}, links, started_ns)

    def acknowledged(self, messages: Iterable[MessageSpans]) -> None:
        """End the spans of sampled messages; one `send` span for each topic, linked to what was created for it."""
        created: defaultdict[str, list[tuple[int, bytes]]] = defaultdict(list)
        for message in messages:
            creation = message.end()
            if creation is not None and message.created_for is not None:
                created[message.created_for].append(creation)
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

    def committed(self, topics: Iterable[str], links: Sequence[bytes], started_ns: int) -> None:
        """One `commit` span for a commit, linked to the sampled messages that it covers."""
        names = sorted(topics)
        attributes = self._of_group("commit", "settle") | _shared(names)
        self._linked(f"commit {','.join(names)}", SpanKind.CLIENT, attributes, links, started_ns)

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


@lru_cache(64)
def _link_to(traceparent: str) -> bytes:
    batch = read_traceparent(traceparent.encode("latin-1", "replace"))
    return b"" if batch is None else encode_link(batch.encoded())


@lru_cache(64)
def _attributes_of(severity: Severity, action: Action) -> bytes:
    return encode_attributes({"moderation.severity": str(severity), "moderation.action": str(action)})


@lru_cache(64)
def _creation(topic: str) -> tuple[bytes, bytes]:
    return encode_name(f"create {topic}", SpanKind.PRODUCER), encode_attributes(
        {
            "messaging.system": "kafka",
            "messaging.operation.name": "create",
            "messaging.operation.type": "create",
            "messaging.destination.name": topic,
        }
    )


def _shared(topics: Sequence[str]) -> dict[str, Attribute]:
    """The destination, where all messages of a span have the same one."""
    return {"messaging.destination.name": topics[0]} if len(topics) == 1 else {}
