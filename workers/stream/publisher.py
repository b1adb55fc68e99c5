"""Publishes outcomes in order and reports each one when the broker has acknowledged all its records.

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

from pipelines.backoff import Backoff
from pipelines.moderation import Ruling
from workers.kafka.errors import Meaning, meaning_of
from workers.stream.assignment import InFlightRecord
from workers.stream.delivery import AtLeastOnce, Settled
from workers.stream.smaller_outcome import smaller_outcome
from workers.telemetry.log import log_event
from workers.telemetry.message_trace import StreamTracer
from workers.telemetry.metrics.instruments import histogram
from workers.telemetry.metrics.table import OPERATION_DURATION

log = logging.getLogger(__name__)
PATIENCE_S = 0.05
SEND = {"messaging.system": "kafka", "messaging.operation.name": "send"}
MEMBER_WAIT_S = 0.05
ENOUGH = 256  # outcomes that are worth a request of their own: no need to linger for more


class Publisher:
    """The thread that publishes.

    Args:
        delivery: sends a batch, and tells what of it the broker has.
        group: consumer group, named in dead letters made here.
        linger_s: wait for more outcomes before a small batch is sent.
        backoff: waits between attempts while something is down.
        acknowledged: called on the publisher's thread with the outcomes that the broker has stored.
        held: called on the publisher's thread when the broker is what holds outcomes up.
        is_member: False while the group may have given the partitions to others; then nothing is sent. A process that
            was frozen finds out here that it was away.
        tracer: told of a record whose outcome had to give way to a smaller one.
        stopping: set by `stop`.
    """

    def __init__(
        self,
        delivery: AtLeastOnce,
        group: str,
        linger_s: float,
        backoff: Backoff,
        acknowledged: Callable[[Sequence[InFlightRecord]], None],
        held: Callable[[], None],
        is_member: Callable[[], bool],
        tracer: StreamTracer,
        stopping: threading.Event,
    ) -> None:
        self._delivery = delivery
        self._group = group
        self._linger_s = linger_s
        self._backoff = backoff
        self._acknowledged = acknowledged
        self._held = held
        self._is_member = is_member
        self._tracer = tracer
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

        Two Python threads that compute at once pass the interpreter's lock, and the processor's caches, to and fro a
        thousand times a second; by turns they are a sixth faster (measured on two cores).
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
            done, error, culprit = self._attempt(batch)
            if done:
                self._acknowledged(done)
                remaining = remaining[len(done) :] if len(done) == len(batch) else _without(remaining, done)
            if error is not None:
                if culprit is None:
                    alone = True
                else:
                    self._handle(culprit, error)
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

    def _handle(self, item: InFlightRecord, error: BaseException) -> None:
        if meaning_of(error) is Meaning.TOO_LARGE and (smaller := smaller_outcome(item, self._group)) is not None:
            item.ruling = Ruling(smaller)
            self._tracer.replaced(item.trace, item.record, smaller)
            return
        self._held()
        log.warning(log_event("publish_held", **item.log_fields, error=type(error).__name__))
        self._stopping.wait(self._backoff.next_wait_s())


def _without(items: list[InFlightRecord], done: list[InFlightRecord]) -> list[InFlightRecord]:
    return [item for item in items if item not in done]
