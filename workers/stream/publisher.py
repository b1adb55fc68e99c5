"""Produces outcomes in order and reports each one when the broker has acknowledged all its records.

A thread of its own, because `send` can block for metadata and the poll loop must not. One batch is acknowledged
before the next is sent, so that a failed record is sent again before anything after it (P8).
Never gives up on an outcome (P5) and never publishes for a partition that is lost.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter

from pipelines.backoff import Backoff
from pipelines.moderation import Ruling
from schemas.dead_letter import DeadLetter, dead_letter
from schemas.errors import TerminalError
from schemas.reasons import Reason
from workers.kafka.errors import KafkaError, KafkaTimeoutError, Meaning, UnknownError, meaning_of
from workers.kafka.producer import Future, Producer
from workers.settings.sections import TopicSettings
from workers.stream.in_flight_record import InFlightRecord
from workers.stream.outcome_records import outcome_records, outcome_topic
from workers.stream.transactions import Transactions
from workers.telemetry.log import log_event
from workers.telemetry.metrics.instruments import histogram
from workers.telemetry.metrics.table import OPERATION_DURATION

log = logging.getLogger(__name__)
FLUSH_WAIT_S = 1.0
PATIENCE_S = 0.05
SEND = {"messaging.system": "kafka", "messaging.operation.name": "send"}
MEMBER_WAIT_S = 0.05
ENOUGH = 256  # outcomes that are worth a request of their own: no need to linger for more


class Publisher:
    """Owner of the producer.

    Args:
        new_producer: makes a producer; called again when one is finished.
        topics: topic names.
        group: consumer group, named in dead letters made here.
        linger_s: wait for more outcomes before a small batch is sent.
        backoff: waits between attempts while something is down.
        acknowledged: called on the publisher's thread with the outcomes that the broker has stored.
        held: called on the publisher's thread when the broker is what holds outcomes up.
        is_member: False while the group may have given the partitions to others; then nothing is sent. A process that
            was frozen finds out here that it was away.
        replaced: called on the publisher's thread with a record whose outcome had to give way to a smaller one.
        transactions: makes a batch and its offsets one transaction; without, delivery is at least once.
    """

    def __init__(
        self,
        new_producer: Callable[[], Producer],
        topics: TopicSettings,
        group: str,
        linger_s: float,
        backoff: Backoff,
        acknowledged: Callable[[Sequence[InFlightRecord]], None],
        held: Callable[[], None],
        is_member: Callable[[], bool],
        replaced: Callable[[InFlightRecord, DeadLetter], None],
        transactions: Transactions | None = None,
    ) -> None:
        self._new_producer = new_producer
        self._producer: Producer | None = None
        self._topics = topics
        self._group = group
        self._linger_s = linger_s
        self._backoff = backoff
        self._acknowledged = acknowledged
        self._held = held
        self._is_member = is_member
        self._replaced = replaced
        self._transactions = transactions
        self._queue: queue.SimpleQueue[Sequence[InFlightRecord]] = queue.SimpleQueue()
        self._stopping = threading.Event()
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
        """Let it send nothing meanwhile, or go on after a moment where it is in the middle of that.

        Two threads that compute at once in Python pass its lock, and the processor's caches, to and fro a thousand
        times a second: by turns they are a sixth faster (measured on two cores).
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
            self._drop_producer()

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
        alone = False
        while remaining and not self._stopping.is_set():
            if not self._is_member():
                self._held()
                self._stopping.wait(MEMBER_WAIT_S)
                continue
            remaining = [item for item in remaining if not item.partition.is_lost]
            batch = remaining[:1] if alone else remaining
            again, is_any_suspect = self._attempt(batch)
            remaining = again + remaining[len(batch) :]
            # An idempotent producer that fails one record fails all that are queued behind it with the same error.
            # Only a record that fails alone is known to be the one.
            alone = alone or is_any_suspect
        self._backoff.reset()

    def _attempt(self, batch: list[InFlightRecord]) -> tuple[list[InFlightRecord], bool]:
        """Send a batch and wait for its acknowledgements.

        Returns:
            What has to be sent again, in order, and whether that may be due to one of its records.
        """
        started = perf_counter()
        with self._processor:
            sent, refused = self._send_all(batch)
        self._flush()
        self._duration.record(perf_counter() - started, SEND)
        done = [item for item, futures in zip(batch, sent, strict=False) if all(map(Future.succeeded, futures))]
        all_sent = len(done) == len(batch)
        if self._transactions is not None:
            done = self._commit(batch) if all_sent else []
        if done:
            self._acknowledged(done)
        again = [item for item in batch if item not in done] if len(done) < len(batch) else []
        if all_sent or not again:
            return again, False
        failure = next((future.exception for futures in sent for future in futures if future.failed()), None)
        if failure is not None or self._transactions is not None:
            self._drop_producer()  # it fails everything from now on, or its transaction has to be aborted
        # Refused by the client itself: that is the first record that was not sent, and only that one.
        culprit = batch[len(sent)] if failure is None and refused is not None else again[0]
        if failure is None or len(batch) == 1:
            self._handle(culprit, failure or refused)
        return again, failure is not None

    def _send_all(self, batch: list[InFlightRecord]) -> tuple[list[list[Future]], BaseException | None]:
        """Futures of each item up to the first that was refused, and the refusal if the client raised it."""
        sent: list[list[Future]] = []
        try:
            if self._producer is None:
                self._producer = self._new_producer()
            if self._transactions is not None:
                self._transactions.begin(self._producer)
            for item in batch:
                futures = self._send(self._producer, item)
                sent.append(futures)
                if any(map(Future.failed, futures)):
                    break  # refused at once, as for want of a right: what follows must not overtake it
        except (KafkaError, ValueError) as error:  # ValueError: a topic lost the partition it had
            return sent, error
        return sent, None

    def _commit(self, batch: list[InFlightRecord]) -> list[InFlightRecord]:
        """Commit the transaction of a batch; returns what of it is committed: all, or nothing."""
        assert self._transactions is not None
        try:
            if self._producer is not None:  # else it was dropped on the way
                self._transactions.commit(self._producer, batch)
                return batch
        except KafkaError as error:
            log.warning(log_event("transaction_failed", error=type(error).__name__))
        self._drop_producer()
        while not self._stopping.is_set():
            try:
                self._producer = self._new_producer()  # ends the old transaction one way or the other
                return self._transactions.committed(batch)
            except KafkaError as error:
                self._drop_producer()
                self._held()
                log.warning(log_event("publish_held", error=type(error).__name__))
                self._stopping.wait(self._backoff.next_wait_s())
        return []

    def _send(self, producer: Producer, item: InFlightRecord) -> list[Future]:
        ruling = item.ruling
        assert ruling is not None
        topic = outcome_topic(ruling, self._topics)
        trace_headers = item.trace.headers_of_send(topic)
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
                    self._drop_producer()
                continue
            except UnknownError:  # kafka-python 3.0.12 says so of a batch too large for its topic that it has split
                continue
            return

    def _handle(self, item: InFlightRecord, error: BaseException | None) -> None:
        if (
            error is not None
            and meaning_of(error) is Meaning.TOO_LARGE
            and (smaller := self._smaller(item)) is not None
        ):
            item.ruling = Ruling(smaller)
            self._replaced(item, smaller)
            return
        self._held()
        log.warning(log_event("publish_held", **item.log_fields, error=type(error).__name__))
        self._stopping.wait(self._backoff.next_wait_s())

    def _drop_producer(self) -> None:
        """Close the producer at once; what it has not delivered must not be delivered later by its own thread."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close_at_once(FLUSH_WAIT_S)

    def _smaller(self, item: InFlightRecord) -> DeadLetter | None:
        """An outcome that fits better: a dead letter for a verdict, one without its value, one without its key."""
        assert item.ruling is not None
        outcome = item.ruling.outcome
        if not isinstance(outcome, DeadLetter):
            error = TerminalError(Reason.VERDICT_TOO_LARGE, "the verdict is larger than its topic allows")
            return dead_letter(item.record, error, group=self._group, provenance=outcome.provenance)
        smaller = without_value(outcome)
        if smaller == outcome:
            return None
        log.warning(log_event("dead_letter_value_dropped", **item.log_fields, key=smaller.key is None))
        return smaller


def without_value(letter: DeadLetter) -> DeadLetter:
    """The pointer form of a dead letter: place and reason without the original's value and headers.

    Of one that has this form already, the key goes too.
    """
    if letter.value_dropped:
        return letter.model_copy(update={"key": None})
    return letter.model_copy(update={"value": b"", "headers": (), "value_dropped": True})
