"""The stream worker: records from Kafka, outcomes to Kafka, offsets committed only behind acknowledged outcomes.

One thread owns consumer, offsets and limits. It polls, admits, releases and commits; guard calls run on an asyncio
loop and the publisher on its own thread, and both answer through a mailbox. While kafka-python runs a rebalance
callback, that thread sits inside `poll`, so the callback may act for it (`workers.stream.rebalance`). No Ray here.
"""

import logging
import queue
import threading
from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

from pipelines.breaker.breaker import Breaker
from pipelines.in_flight import InFlightLimits
from schemas.record import SourceRecord
from workers.kafka.consumer import Consumer
from workers.kafka.errors import KafkaError, Meaning, meaning_of
from workers.settings.loading import Settings
from workers.stream.assignment import Assignment
from workers.stream.backlog import Backlog
from workers.stream.commits import Commits
from workers.stream.decisions import Decisions, GuardCalls, Items
from workers.stream.intake import Intake
from workers.stream.outcome_counts import OutcomeCounts
from workers.stream.progress import Progress
from workers.stream.publisher import Publisher
from workers.stream.rebalance import Rebalance
from workers.telemetry.log import log_event
from workers.telemetry.message_trace import StreamTracer

log = logging.getLogger(__name__)
BASELINES = 8  # of so many partitions, which is enough: all hold their workers' baselines of the same traffic
Answer = TypeVar("Answer")
Mailbox = queue.SimpleQueue[Items]


class StreamWorker:
    """Moderates the partitions that the group gives it. `workers.stream.build` puts one together.

    Args:
        settings: all settings.
        consumer: a member of the group, not yet connected.
        limits: what is in flight, and how much may be.
        assignment: the partitions that are owned.
        intake: polls.
        decisions: what is decided before and after the guard.
        calls: asks the guard.
        publisher: publishes what is decided.
        acknowledged: where the publisher puts what the broker has.
        commits: commits offsets.
        outcomes: counts acknowledged outcomes.
        progress: signs of life.
        backlog: measures what is unfinished.
        tracer: spans of messages.
        breaker: while it is open, nothing is taken in, released or committed.
        stopping: set when the worker is to stop.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        consumer: Consumer,
        limits: InFlightLimits,
        assignment: Assignment,
        intake: Intake,
        decisions: Decisions,
        calls: GuardCalls,
        publisher: Publisher,
        acknowledged: Mailbox,
        commits: Commits,
        outcomes: OutcomeCounts,
        progress: Progress,
        backlog: Backlog,
        tracer: StreamTracer,
        breaker: Breaker,
        stopping: threading.Event,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self._limits = limits
        self._assignment = assignment
        self._intake = intake
        self._decisions = decisions
        self._calls = calls
        self._publisher = publisher
        self._acknowledged = acknowledged
        self._commits = commits
        self._outcomes = outcomes
        self.progress = progress
        self.backlog = backlog
        self._tracer = tracer
        self.breaker = breaker
        self._stopping = stopping
        self._clock = clock
        self._stop_deadline: float | None = None
        self._has_recalled = False
        self._measure_at = -float("inf")
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

    @property
    def is_full(self) -> bool:
        """True while an in-flight limit holds intake back."""
        return self._limits.is_full

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
        waiting_for_us = 0 if self._calls.under_way else self._limits.records
        health = self._settings.health
        stuck = self.progress.stuck_reason(health.progress_timeout_s, waiting_for_us, health.progress_factor)
        return stuck or self._intake.stuck_reason(health.progress_timeout_s)

    # -- the worker's own thread -------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """One turn of the loop, which is the whole of a record's way but for the guard and the publisher."""
        self._intake.apply_pressure()
        records = self._intake.poll()
        with self._publisher.held_off():
            self._take(records)
            self.advance()
        self._commits.commit_when_due()
        if self._clock() >= self._measure_at:
            self._measure_at = self.backlog.measure(self._consumer, self._assignment)
        self.progress.beat()

    def _take(self, records: list[SourceRecord]) -> None:
        if not records:
            return
        if not self._limits.records:
            self.progress.advanced()
        if not self._has_recalled:
            self._recall()
        taken = self._decisions.admit(records)
        self._limits.add(sum([item.size_bytes for item in taken]), sum([item.tokens for item in taken]), len(taken))
        undecided = [item for item in taken if not item.is_decided]
        size = self._settings.delivery.chunk_size
        for start in range(0, len(undecided), size):
            self._calls.ask(undecided[start : start + size])

    def advance(self) -> None:
        """Decide what was judged, release in offset order, complete what was acknowledged. Never waits."""
        if self._publisher.failure is not None:
            raise self._publisher.failure
        for items, judged in self._calls.answered():
            for item in self._decisions.decide(items, judged):
                self._calls.ask([item])
        if self.breaker.is_open:
            self.progress.held()
        elif released := self._assignment.release():
            self._publisher.publish(released)
        while not self._acknowledged.empty():
            self._complete(self._acknowledged.get())

    def _complete(self, items: Items) -> None:
        self._outcomes.add(items)
        self._tracer.acknowledged([item.trace for item in items if item.trace.is_sampled])
        self._assignment.complete(items)
        for item in items:
            if item.trace.is_sampled and item.is_completed:
                self._tracer.completed(item.trace)
        self.progress.advanced(len(items))
        self._commits.completed()

    # -- its beginning and its end -----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            if not self._until_answered(self._consumer.connect):
                return
            with closing(self._consumer):
                try:
                    self._until_answered(self._subscribe)
                    while not self._stopping.is_set():
                        self._turn()
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
            self._consumer, self._assignment, self._commits, self.advance, self._drain_deadline, self._clock
        )
        self._consumer.subscribe(self._settings.topics.events, listener)

    def _recall(self) -> None:
        """Begin with the mix of verdicts that the workers before this one saw: it stands beside their offsets."""
        self._has_recalled = True
        try:
            stored = self._consumer.committed_texts(sorted(self._consumer.assignment())[:BASELINES])
        except KafkaError as error:
            log.warning(log_event("baseline_not_read", error=type(error).__name__))
            return
        self.breaker.recall(stored)

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
        while self._clock() < deadline and not self.breaker.is_open and not self._commits.finished():
            self._intake.pause_all()
            self._take(self._intake.poll())
            self.advance()
            self.progress.beat()
        log.info(log_event("drained", left_in_flight=self._limits.records))
