"""The spans of one message and of the calls it rides in: `poll`, `process`, `send`, `commit`.

Names and attributes follow the OpenTelemetry messaging conventions (semconv 1.44). A message whose producer decided
against sampling costs one header look-up and no span. Never puts content into a span (P10).
"""

from collections.abc import Iterable, Mapping, Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagate import extract, inject
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode

from schemas.dead_letter import DeadLetter
from schemas.record import SourceRecord
from schemas.verdict_writer import VerdictText

MAX_LINKS = 128
_NO_CARRIER: Mapping[str, str] = {}
_TRACEPARENT_LENGTH = 55
_EVEN_DIGITS = b"02468ace"  # the last bit of the flags is the sampling decision; others, as the random id's, may be set


class MessageTrace:
    """Trace state of one message; all methods do nothing where it is not sampled, as `is_sampled` tells."""

    __slots__ = ("_process", "_send", "carrier", "incoming", "is_sampled")

    def __init__(self, incoming: tuple[tuple[str, bytes], ...], process: Span | None) -> None:
        self.incoming = incoming
        self.is_sampled = process is not None
        self._process = process
        self._send: Span | None = None
        self.carrier: Mapping[str, str] = _NO_CARRIER
        if process is not None:
            carrier: dict[str, str] = {}
            inject(carrier, trace.set_span_in_context(process))
            self.carrier = carrier

    @property
    def context(self) -> SpanContext | None:
        """Context of the process span, where there is one."""
        return None if self._process is None else self._process.get_span_context()

    def add_batch(self, carrier: Mapping[str, str], queue_ms: float, guard_ms: float) -> None:
        """Link to the GPU batch that this message rode in."""
        if self._process is None or not carrier:
            return
        batch = trace.get_current_span(extract(carrier, Context())).get_span_context()
        if batch.is_valid:
            self._process.add_link(batch, {"moderation.queue_ms": queue_ms, "moderation.guard_ms": guard_ms})

    def decided(self, outcome: VerdictText | DeadLetter) -> None:
        """Say what became of the message."""
        process = self._process
        if process is None:
            return
        if isinstance(outcome, VerdictText):
            process.set_attribute("moderation.severity", outcome.severity)
            process.set_attribute("moderation.action", outcome.action)
            process.set_attribute("moderation.verdict_id", outcome.verdict_id)
        else:
            process.set_attribute("error.type", outcome.reason)
            process.set_attribute("moderation.stage", outcome.stage)
            process.set_status(Status(StatusCode.ERROR, outcome.reason))

    def headers_of_send(self, topic: str) -> list[tuple[str, bytes]]:
        """Start the send span and return the trace headers of the outgoing record.

        Without a span the incoming trace headers are passed on, so that the path is not cut.
        """
        if self._process is None:
            return list(self.incoming)
        if self._send is not None:  # an earlier attempt
            self._send.end()
        self._send = trace.get_tracer(__name__).start_span(
            f"send {topic}",
            trace.set_span_in_context(self._process),
            SpanKind.PRODUCER,
            {
                "messaging.system": "kafka",
                "messaging.operation.name": "send",
                "messaging.operation.type": "send",
                "messaging.destination.name": topic,
            },
        )
        carrier: dict[str, str] = {}
        inject(carrier, trace.set_span_in_context(self._send))
        return [(name, value.encode()) for name, value in carrier.items()]

    def end(self) -> None:
        """End the spans: the outcome is acknowledged, or the partition is gone."""
        if self._send is not None:
            self._send.end()
        if self._process is not None:
            self._process.end()


class StreamTracer:
    """Makes the spans of one consumer.

    Args:
        enabled: False where no exporter is configured; then nothing is created.
        parent_decides: True where the sampler follows the parent's decision.
        as_child: the process span is the producer span's child, else linked to it.
        group: consumer group.
    """

    def __init__(self, *, enabled: bool, parent_decides: bool, as_child: bool, group: str) -> None:
        self._enabled = enabled
        self._parent_decides = parent_decides
        self._as_child = as_child
        self._group = group
        self._completed: list[SpanContext] = []
        self._tracer = trace.get_tracer(__name__)

    def start(self, record: SourceRecord) -> MessageTrace:
        """Start the process span of a consumed record."""
        incoming = _trace_headers(record)
        if not self._enabled or (self._parent_decides and incoming and _is_unsampled(incoming[0][1])):
            return MessageTrace(incoming, None)
        parent = extract({name: value.decode("latin-1") for name, value in incoming}, Context())
        creation = trace.get_current_span(parent).get_span_context()
        span = self._tracer.start_span(
            f"process {record.topic}",
            parent if self._as_child else Context(),
            SpanKind.CONSUMER,
            {**self._attributes("process", "process"), **_place(record)},
            links=[] if self._as_child or not creation.is_valid else [Link(creation)],
        )
        return MessageTrace(incoming, span if span.is_recording() else None)

    def polled(self, started_ns: int, records: Sequence[SourceRecord], traces: Iterable[MessageTrace]) -> None:
        """One `poll` span for a poll that returned sampled records, linked to each of them.

        A span holds 128 links at most, so a poll of more sampled records gets a further span for each 128.
        """
        links = [
            Link(context, _place(record))
            for record, message in zip(records, traces, strict=True)
            if (context := message.context) is not None
        ]
        topics = {record.topic for record in records}
        attributes: dict[str, str | int] = {
            **self._attributes("poll", "receive"),
            "messaging.batch.message_count": len(records),
        }
        if len(topics) == 1:
            attributes["messaging.destination.name"] = next(iter(topics))
        self._linked(f"poll {','.join(sorted(topics))}", attributes, links, started_ns)

    def completed(self, message: MessageTrace) -> None:
        """Note a message whose offset the next commit covers."""
        if message.context is not None:
            self._completed.append(message.context)

    def committed(self, topics: Iterable[str], started_ns: int) -> None:
        """One `commit` span for a commit, linked to the sampled messages completed since the last."""
        links = [Link(context) for context in self._completed]
        self._completed.clear()
        self._linked(f"commit {','.join(sorted(topics))}", self._attributes("commit", "settle"), links, started_ns)

    def _attributes(self, name: str, kind: str) -> dict[str, str | int]:
        return {
            "messaging.system": "kafka",
            "messaging.operation.name": name,
            "messaging.operation.type": kind,
            "messaging.consumer.group.name": self._group,
        }

    def _linked(self, name: str, attributes: dict[str, str | int], links: Sequence[Link], started_ns: int) -> None:
        for start in range(0, len(links), MAX_LINKS):
            some = links[start : start + MAX_LINKS]
            self._tracer.start_span(name, Context(), SpanKind.CLIENT, attributes, some, start_time=started_ns).end()


def _trace_headers(record: SourceRecord) -> tuple[tuple[str, bytes], ...]:
    parent: bytes | None = None
    state: bytes | None = None
    for name, value in record.headers:  # the last of a name counts, as Kafka's lastHeader
        if name == "traceparent":
            parent = value
        elif name == "tracestate":
            state = value
    if parent is None:
        return ()
    return (("traceparent", parent),) if state is None else (("traceparent", parent), ("tracestate", state))


def _is_unsampled(traceparent: bytes) -> bool:
    return len(traceparent) == _TRACEPARENT_LENGTH and traceparent[-1] in _EVEN_DIGITS


def _place(record: SourceRecord) -> dict[str, str | int]:
    return {
        "messaging.destination.name": record.topic,
        "messaging.destination.partition.id": str(record.partition),
        "messaging.kafka.offset": record.offset,
    }
