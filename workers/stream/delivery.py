"""Sends outcomes as records and waits for acknowledgements: at least once. `workers.stream.exactly_once` adds to it.

Owns the producer. The publisher waits between attempts and decides what is sent again.
"""

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pipelines.moderation import Ruling
from schemas.dead_letter import TRACE_HEADERS, DeadLetter
from schemas.record import JSON_CONTENT, OutputRecord, SourceRecord
from workers.kafka.errors import KafkaError, KafkaTimeoutError, UnknownError
from workers.kafka.producer import Future, Producer
from workers.settings.sections import TopicSettings
from workers.stream.assignment import InFlightRecord

FLUSH_WAIT_S = 1.0


class Sent(NamedTuple):
    """Futures of each outcome of a batch up to the first that was refused, and the refusal if the client raised it."""

    futures: list[list[Future]]
    refusal: BaseException | None


class Settled(NamedTuple):
    """What became of a batch.

    Attributes:
        done: outcomes that the broker has, in order.
        error: why the first of the others is not among them, where that is known.
        culprit: the outcome whose error it is; None where it may be any of them.
    """

    done: list[InFlightRecord]
    error: BaseException | None
    culprit: InFlightRecord | None


class AtLeastOnce:
    """Each outcome is acknowledged by itself; its offset is committed some time after that, by `Commits`.

    Args:
        new_producer: makes a producer; called again when one is finished.
        topics: topic names.
        held: called when the broker is what holds outcomes up.
        stopping: set when nothing is to be waited for any more.
    """

    def __init__(
        self,
        new_producer: Callable[[], Producer],
        topics: TopicSettings,
        held: Callable[[], None],
        stopping: threading.Event,
    ) -> None:
        self._new_producer = new_producer
        self._producer: Producer | None = None
        self._topics = topics
        self._held = held
        self._stopping = stopping

    def send(self, batch: Sequence[InFlightRecord]) -> Sent:
        """Hand outcomes to the producer, in order, up to the first that it refuses."""
        futures: list[list[Future]] = []
        try:
            producer = self._producer = self._producer or self._open()
            self._begin(producer)
            for item in batch:
                futures.append(self._send(producer, item))
                if any(map(Future.failed, futures[-1])):
                    break  # refused at once, as for want of a right: what follows must not overtake it
        except (KafkaError, ValueError) as error:  # ValueError: a topic lost the partition it had
            return Sent(futures, error)
        return Sent(futures, None)

    def settle(self, batch: Sequence[InFlightRecord], sent: Sent) -> Settled:
        """Wait until the broker has answered for all that was sent."""
        self._flush()
        # Not `strict`: a refusal ends the futures early.
        done = [item for item, futures in zip(batch, sent.futures, strict=False) if all(map(Future.succeeded, futures))]
        failure = next((future.exception for futures in sent.futures for future in futures if future.failed()), None)
        if failure is not None:
            self.close()  # it fails everything from now on
            # An idempotent producer that fails one record fails all that are queued behind it with the same error.
            # Only a record that fails alone is known to be the one.
            return Settled(done, failure, batch[0] if len(batch) == 1 else None)
        if sent.refusal is not None:  # by the client itself: that is the first that was not sent, and only that one
            return Settled(done, sent.refusal, batch[len(sent.futures)])
        return Settled(done, None, None)

    def close(self) -> None:
        """Close the producer at once; what it has not delivered must not be delivered later by its own thread."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close_at_once(FLUSH_WAIT_S)

    def _open(self) -> Producer:
        return self._new_producer()

    def _begin(self, producer: Producer) -> None:
        """Called before the first record of a batch."""

    def _send(self, producer: Producer, item: InFlightRecord) -> list[Future]:
        ruling = item.ruling
        assert ruling is not None
        trace_headers = item.trace.headers_of_send(outcome_topic(ruling, self._topics))
        return [
            producer.send(topic, value, key, headers, partition)
            for topic, partition, key, value, headers in outcome_records(
                ruling, self._topics, item.record, trace_headers, lambda name: len(producer.partitions_for(name))
            )
        ]

    def _flush(self) -> None:
        """Wait until every record is acknowledged or has failed; a broker that is down is waited for."""
        while self._producer is not None:
            try:
                self._producer.flush(timeout=FLUSH_WAIT_S)
            except KafkaTimeoutError:
                self._held()
                if self._stopping.is_set():
                    self.close()
                continue
            except UnknownError:  # kafka-python 3.0.12 says so of a batch too large for its topic that it has split
                continue
            return


def outcome_topic(ruling: Ruling, topics: TopicSettings) -> str:
    """The topic an outcome goes to first."""
    return topics.dead_letters if isinstance(ruling.outcome, DeadLetter) else topics.verdicts


def outcome_records(
    ruling: Ruling,
    topics: TopicSettings,
    record: SourceRecord,
    trace_headers: list[tuple[str, bytes]],
    partitions_of: Callable[[str], int],
) -> list[OutputRecord]:
    """Records to produce; the outcome is acknowledged when all of them are.

    A verdict keeps its event's key, so that one conversation's verdicts share a partition and keep their order. A dead
    letter, and the verdict of an event without a key, goes to the partition `source partition % n` of its topic, so
    that copies of it share one.

    Args:
        ruling: what became of the record, and the topics that the policy routes it to besides the result topic.
        topics: topic names.
        record: the event's record.
        trace_headers: W3C trace context of the send span.
        partitions_of: tells how many partitions a topic has; not asked where a key chooses.
    """
    outcome = ruling.outcome
    if isinstance(outcome, DeadLetter):
        headers = outcome.record_headers
        if not any(name in TRACE_HEADERS for name, _ in headers):
            headers += [(name, text) for name, text in trace_headers if name in TRACE_HEADERS]  # baggage it has
        value = b"" if outcome.value is None and outcome.key is None else outcome.value
        partition = outcome.source.partition % partitions_of(topics.dead_letters)
        return [OutputRecord(topics.dead_letters, partition, outcome.key, value, headers)]
    headers = [JSON_CONTENT, *trace_headers]
    names = (topics.verdicts, *ruling.topics)
    if record.key is not None:
        return [OutputRecord(topic, None, record.key, outcome.value, headers) for topic in names]
    return [
        OutputRecord(topic, record.partition % partitions_of(topic), None, outcome.value, headers) for topic in names
    ]
