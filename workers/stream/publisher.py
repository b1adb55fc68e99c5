"""Publishes outcomes in order and reports each one when the broker has acknowledged all its records: at least once.

A thread of its own, because sending can block for metadata and the poll loop must not. One batch is acknowledged
before the next is sent, so that a failed record is sent again before anything after it (P8).
Never gives up on an outcome (P5) and never publishes for a partition that is lost.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import NamedTuple

from pipelines.backoff import Backoff
from pipelines.moderation import Ruling
from schemas.dead_letter import DeadLetter
from schemas.record import JSON_CONTENT, OutputRecord, SourceRecord
from workers.kafka.errors import KafkaError, KafkaTimeoutError, Meaning, UnknownError, fault_of, meaning_of
from workers.kafka.producer import Future, Producer
from workers.settings.sections import TopicSettings
from workers.stream.assignment import InFlightRecord
from workers.stream.dead_letters import TooLarge, letter_record
from workers.telemetry.log import log_event
from workers.telemetry.metrics.instruments import histogram
from workers.telemetry.metrics.table import OPERATION_DURATION

log = logging.getLogger(__name__)
FLUSH_WAIT_S = 1.0
PATIENCE_S = 0.05
SEND = {"messaging.system": "kafka", "messaging.operation.name": "send"}
MEMBER_WAIT_S = 0.05
ENOUGH = 256  # outcomes that are worth a request of their own: no need to linger for more


class Sent(NamedTuple):
    """Futures of each outcome of a batch up to the first that was refused, and the refusal if the client raised it."""

    futures: list[list[Future]]
    refusal: BaseException | None


class Settled(NamedTuple):
    """Outcomes that the broker has, in order; why the first of the others is not among them; whose error that is.

    The culprit is None where it may be any of them.
    """

    done: list[InFlightRecord]
    error: BaseException | None
    culprit: InFlightRecord | None


class AtLeastOnce:
    """Each outcome is acknowledged by itself; its offset is committed some time after that, by `Commits`.

    Owns the producer; `workers.stream.exactly_once` adds to it.

    Args:
        new_producer: makes a producer; called again when one is finished.
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
            return Settled(done, sent.refusal, next(iter(batch[len(sent.futures) :]), None))
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
        if ruling is None:
            return []  # it is skipped, in its turn
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


class Publisher:
    """The thread that publishes.

    Args:
        linger_s: wait for more outcomes before a small batch is sent.
        acknowledged: called on the publisher's thread with the outcomes that the broker has stored.
        held: called on the publisher's thread when the broker is what holds outcomes up.
        is_member: False while the group may have given the partitions to others; then nothing is sent. A process that
            was frozen finds out here that it was away.
        too_large: makes outcomes smaller that a topic refuses.
    """

    def __init__(
        self,
        delivery: AtLeastOnce,
        linger_s: float,
        backoff: Backoff,
        acknowledged: Callable[[Sequence[InFlightRecord]], None],
        held: Callable[[], None],
        is_member: Callable[[], bool],
        too_large: TooLarge,
        stopping: threading.Event,
    ) -> None:
        self._delivery = delivery
        self._linger_s = linger_s
        self._backoff = backoff
        self._acknowledged = acknowledged
        self._held = held
        self._is_member = is_member
        self._too_large = too_large
        self._stopping = stopping
        self._queue: queue.SimpleQueue[Sequence[InFlightRecord]] = queue.SimpleQueue()
        self._processor = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="weir-publisher", daemon=True)
        self._duration = histogram(OPERATION_DURATION)
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def publish(self, outcomes: Sequence[InFlightRecord]) -> None:
        """Queue decided records, in the order in which they shall leave."""
        self._queue.put(outcomes)

    @contextmanager
    def held_off(self) -> Iterator[None]:
        """Keep the publisher from computing meanwhile; does not wait long for one that is in the middle of it.

        By turns, two Python threads are a sixth faster than at once (measured on two cores).
        """
        is_ours = self._processor.acquire(timeout=PATIENCE_S)
        try:
            yield
        finally:
            if is_ours:
                self._processor.release()

    def stop(self, timeout_s: float) -> None:
        """Finish the batch at hand and close the producer; what is not acknowledged stays uncommitted."""
        self._stopping.set()
        self._queue.put(())  # wakes the thread
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._publish(self._next_batch())
        except BaseException as error:
            self.failure = error
            log.exception(log_event("publisher_failed"))
        finally:
            self._delivery.close()

    def _next_batch(self) -> list[InFlightRecord]:
        """Wait for outcomes and take all that are there; where these are few, linger for more."""
        batch = self._gathered(list(self._queue.get()))
        if len(batch) < ENOUGH:
            self._stopping.wait(self._linger_s)
        return self._gathered(batch)

    def _gathered(self, batch: list[InFlightRecord]) -> list[InFlightRecord]:
        while not self._queue.empty():
            batch.extend(self._queue.get())
        return batch

    def _publish(self, remaining: list[InFlightRecord]) -> None:
        alone = has_waited = False
        while remaining and not self._stopping.is_set():
            if not self._is_member():
                self._held()
                self._stopping.wait(MEMBER_WAIT_S)
                continue
            remaining = [item for item in remaining if not item.partition.is_lost]
            batch = remaining[:1] if alone else remaining
            if self._too_large.most:
                self._too_large.fit(batch)
            done, error, culprit = self._attempt(batch)
            if done:
                self._acknowledged(done)
                acknowledged = set(done)
                remaining = [item for item in remaining if item not in acknowledged]
            if error is not None:
                is_too_large = meaning_of(error) is Meaning.TOO_LARGE
                culprit = culprit or (self._too_large.suspect(batch) if is_too_large else None)
                if culprit is None:
                    alone = True
                elif is_too_large and self._too_large.give_way(culprit):
                    alone = False
                else:
                    self._hold(culprit, error)
                has_waited = True
        if has_waited:
            self._backoff.reset()

    def _attempt(self, batch: list[InFlightRecord]) -> Settled:
        started = perf_counter()
        with self._processor:
            sent = self._delivery.send(batch)
        settled = self._delivery.settle(batch, sent)
        self._duration.record(perf_counter() - started, SEND)
        return settled

    def _hold(self, item: InFlightRecord, error: BaseException) -> None:
        self._held()
        log.warning(log_event("publish_held", **item.log_fields, **fault_of(error)))
        self._stopping.wait(self._backoff.next_wait_s())


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

    A verdict keeps its event's key, and so the order in its conversation. A dead letter, and the verdict of an event
    without a key, goes to the partition `source partition % n` of its topic, so that copies of it share one.

    Args:
        ruling: what became of the record, and the topics that the policy routes it to besides the result topic.
        topics: topic names.
        record: the event's.
        trace_headers: W3C trace context of the send span.
        partitions_of: tells how many partitions a topic has; not asked where a key chooses.
    """
    outcome = ruling.outcome
    if isinstance(outcome, DeadLetter):
        return [letter_record(outcome, topics.dead_letters, trace_headers, partitions_of(topics.dead_letters))]
    headers = [JSON_CONTENT, *trace_headers]
    names = (topics.verdicts, *ruling.topics)
    if record.key is not None:
        return [OutputRecord(topic, None, record.key, outcome.value, headers) for topic in names]
    return [
        OutputRecord(topic, record.partition % partitions_of(topic), None, outcome.value, headers) for topic in names
    ]
