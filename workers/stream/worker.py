"""The stream worker: records from Kafka, outcomes to Kafka, offsets committed only behind acknowledged outcomes.

This module has its thread: how it starts, what happens when the group moves partitions, and how it drains and stops.
`workers.stream.loop` has what it does in a turn. No Ray here.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import closing

from schemas.record import Partition
from workers.kafka.errors import KafkaError, Meaning, meaning_of
from workers.settings.loading import Settings
from workers.stream.loop import Loop
from workers.stream.progress import stuck_reason
from workers.stream.rebalance import Rebalance
from workers.telemetry.log import log_event

log = logging.getLogger(__name__)


class StreamWorker:
    """Moderates the partitions that the group gives it. `workers.stream.build` puts one together.

    Args:
        settings: all settings.
        loop: what the thread does, turn by turn; its consumer is not yet connected.
    """

    def __init__(self, settings: Settings, loop: Loop) -> None:
        self._settings = settings
        self._loop = loop
        self._consumer = loop.consumer
        self._limits = loop.limits
        self._assignment = loop.assignment
        self._publisher = loop.publisher
        self.progress = loop.progress
        self.backlog = loop.backlog
        self.breaker = loop.breaker
        self._stopping = loop.stopping
        self._clock = loop.clock
        self._stop_deadline: float | None = None
        self._thread = threading.Thread(target=self._run, name="weir-stream", daemon=True)
        self.failure: BaseException | None = None

    # -- from other threads ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start consuming."""
        self._publisher.start()
        self._thread.start()

    def request_stop(self) -> None:
        """Stop intake and begin to drain; does not wait."""
        self._stopping.set()

    def stop(self, timeout_s: float) -> bool:
        """Stop intake, drain, commit and leave the group; True where that was done in time."""
        self.request_stop()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def give_up(self, partition: Partition) -> tuple[int, int] | None:
        """See `UnreadablePartitions.give_up`."""
        return self._loop.unreadable.give_up(partition)

    @property
    def is_full(self) -> bool:
        """True while an in-flight limit holds intake back."""
        return self._assignment.is_full

    @property
    def in_flight(self) -> int:
        """Records in flight."""
        return self._limits.records

    def stuck_reason(self) -> str | None:
        """Why this worker is not healthy, or None."""
        if self.failure is not None:
            return f"the worker failed: {type(self.failure).__name__}"
        if not self._thread.is_alive():
            return "the worker is not running"
        # While a guard call is out, waiting is not this worker's doing: the guard has a health check of its own.
        waiting_for_us = 0 if self._loop.calls.under_way or self._assignment.is_idle else self._limits.records
        health = self._settings.health
        return stuck_reason(
            self.progress, self._clock(), health.progress_timeout_s, waiting_for_us, health.progress_factor
        )

    # -- the worker's own thread -------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            if not self._until_answered(self._consumer.connect):
                return
            with closing(self._consumer):
                try:
                    self._until_answered(self._subscribe)
                    while not self._stopping.is_set():
                        self._loop.turn()
                    self._drain()
                except BaseException:
                    self._stop_deadline = self._clock()  # nothing more will come of what is in flight
                    raise
        except BaseException as error:
            self.failure = error
            log.exception(log_event("worker_failed"))
        finally:
            self._publisher.stop(timeout_s=2.0)
            log.info(log_event("worker_stopped"))

    def _until_answered(self, ask: Callable[[], None]) -> bool:
        """Ask until the brokers answer, however long they are down (P5); False where a stop came first."""
        while not self._stopping.is_set():
            try:
                ask()
            except KafkaError as error:
                if meaning_of(error) is Meaning.FATAL:
                    raise
                log.warning(log_event("start_held", error=type(error).__name__))
                self.progress.beat()
                self._stopping.wait(self._settings.kafka.heartbeat_interval_ms / 3000)
            else:
                return True
        return False

    def _subscribe(self) -> None:
        listener = Rebalance(
            self._consumer,
            self._assignment,
            self.breaker,
            self._loop.tracer,
            self._loop.advance,
            self._drain_deadline,
            self._clock,
        )
        self._consumer.subscribe(self._settings.topics.events, listener)

    def _drain_deadline(self) -> float:
        """Until when a drain may wait; leaving the group after a stop is part of the stop's own drain.

        What an open breaker holds back is not waited for: whoever comes next judges it again.
        """
        if self.breaker.is_open:
            return self._clock()
        return self._stop_deadline or self._clock() + self._settings.delivery.drain_timeout_s

    def _drain(self) -> None:
        """Finish and commit what is in flight, bounded in time; polling goes on, so the member stays in the group."""
        deadline = self._stop_deadline = self._drain_deadline()
        while self._clock() < deadline and not self.breaker.is_open and not self._loop.commits.finished():
            self._loop.drain()
        log.info(log_event("drained", left_in_flight=self._limits.records))
