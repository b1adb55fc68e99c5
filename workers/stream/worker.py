"""The stream worker: records from Kafka, outcomes to Kafka, offsets committed only behind acknowledged outcomes.

One thread owns consumer, offsets and limits. It polls, admits, releases and commits; guard calls run on an asyncio
loop and the publisher on its own thread, and both answer through a mailbox. While kafka-python runs a rebalance
callback, that thread sits inside `poll`, so the callback may act for it (`workers.stream.rebalance`). No Ray here.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

from kafka import KafkaConsumer
from kafka.errors import KafkaError

from pipelines.breaker.breaker import Breaker
from pipelines.in_flight import InFlightLimits, Load
from pipelines.judging import Judge
from pipelines.moderation import Moderation
from schemas.record import SourceRecord
from workers.kafka.errors import Meaning, meaning_of
from workers.kafka.membership import Membership
from workers.settings.loading import Settings
from workers.stream.assignment import Assignment, Offsets
from workers.stream.backlog import Backlog
from workers.stream.commits import Commits
from workers.stream.decisions import Decisions
from workers.stream.guard_calls import GuardCalls, Items
from workers.stream.intake import Intake
from workers.stream.progress import Progress
from workers.stream.publisher import Publisher
from workers.stream.rebalance import Rebalance
from workers.telemetry.log import log_event
from workers.telemetry.message_trace import StreamTracer

log = logging.getLogger(__name__)
MEMORIES = 8  # of so many partitions, which is enough: all hold their workers' memory of the same traffic
Answer = TypeVar("Answer")
NewPublisher = Callable[[Callable[[Items], None], Callable[[], None], Membership], Publisher]


class StreamWorker:
    """Moderates the partitions that the group gives it.

    Args:
        settings: all settings.
        moderation: what is decided before and after the model.
        judge: gets answers from the guard.
        loop: running asyncio loop for guard calls; not this worker's thread.
        new_consumer: makes the group's consumer.
        new_publisher: makes the publisher; takes what to call with acknowledged records, and on a hold, and what the
            group knows of the consumer.
        tracer: spans of messages.
        breaker: while it is open, nothing is taken in, released or committed.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        settings: Settings,
        moderation: Moderation,
        judge: Judge,
        loop: asyncio.AbstractEventLoop,
        new_consumer: Callable[[], KafkaConsumer],
        new_publisher: NewPublisher,
        tracer: StreamTracer,
        breaker: Breaker,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self.breaker = breaker
        self._calls = GuardCalls(judge, loop)
        self._new_consumer = new_consumer
        self._tracer = tracer
        self._clock = clock
        limits = settings.limits
        load = Load(limits.in_flight_records, limits.in_flight_bytes, limits.in_flight_tokens)
        self.limits = self._limits = InFlightLimits(load, limits.resume_ratio)
        self.assignment = self._assignment = Assignment(self._limits, breaker.memory)
        self._decisions = Decisions(moderation, self._assignment, tracer, breaker, clock)
        self._stopping = threading.Event()
        self._intake = Intake(settings, self._limits, breaker, self._assignment, self._stopping.wait, clock)
        self._acknowledged: queue.SimpleQueue[Items] = queue.SimpleQueue()
        is_named = settings.kafka.group_instance_id is not None
        self._commits = Commits(self._assignment, settings.delivery.commit_interval_s, is_named, self._committed, clock)
        self._stop_deadline: float | None = None
        self._has_recalled = False
        self._thread = threading.Thread(target=self._run, name="weir-stream", daemon=True)
        self.progress = Progress(clock)
        self.backlog = Backlog(self.progress, clock)
        self._consumer: KafkaConsumer | None = None
        self._membership = Membership()
        self._publisher = new_publisher(self._acknowledged.put, self.progress.held, self._membership)
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

    def _run(self) -> None:
        try:
            if (consumer := self._until_answered(self._new_consumer)) is None:
                return
            with closing(consumer):
                self._consumer = consumer
                self._membership.begin(consumer)
                try:
                    self._until_answered(lambda: self._subscribe(consumer))
                    while not self._stopping.is_set():
                        self._turn(consumer)
                    self._drain(consumer)
                except BaseException:
                    self._stop_deadline = self._clock()  # nothing more will come of what is in flight
                    raise
        except BaseException as error:
            self.failure = error
            log.exception(log_event("worker_failed"))
        finally:
            self._publisher.stop(timeout_s=2.0)
            log.info(log_event("worker_stopped"))

    def _subscribe(self, consumer: KafkaConsumer) -> None:
        topics = list(self._settings.topics.events)
        # Each time anew: it also ends the asking for all of the cluster's topics, which one that fails below leaves on.
        consumer.subscribe(topics, listener=self._rebalance(consumer))
        for topic in topics:
            consumer.partitions_for_topic(topic)  # a leader without metadata assigns nothing

    def _until_answered(self, ask: Callable[[], Answer]) -> Answer | None:
        """Ask until the brokers answer, however long they are down (P5); None where a stop came first."""
        while not self._stopping.is_set():
            try:
                return ask()
            except KafkaError as error:
                if meaning_of(error) is Meaning.FATAL:
                    raise
                log.warning(log_event("start_held", error=type(error).__name__))
                self.progress.beat()
                self._stopping.wait(self._settings.kafka.heartbeat_interval_ms / 3000)
        return None

    def _rebalance(self, consumer: KafkaConsumer) -> Rebalance:
        return Rebalance(
            consumer,
            self._assignment,
            self._drain_deadline,
            self._membership,
            advance=self.advance,
            committed=self._committed,
            clock=self._clock,
        )

    def _drain_deadline(self) -> float:
        """Until when a drain may wait; leaving the group after a stop is part of the stop's own drain.

        What an open breaker holds back is not waited for: whoever comes next judges it again.
        """
        if self.breaker.is_open:
            return self._clock()
        return self._stop_deadline or self._clock() + self._settings.delivery.drain_timeout_s

    def _turn(self, consumer: KafkaConsumer) -> None:
        self._intake.apply_pressure(consumer)
        records = self._intake.poll(consumer)
        with self._publisher.held_off():
            self._take(records)
            self.advance()
        if not self.breaker.is_open:
            self._commits.commit_when_due(consumer)
        self.backlog.measure_when_due(consumer, self._assignment)
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

    def _recall(self) -> None:
        """Begin with the mix of verdicts that the workers before this one saw: it stands beside their offsets."""
        self._has_recalled = True
        consumer = self._consumer
        assert consumer is not None
        try:
            stored = [consumer.committed(tp, metadata=True) for tp in sorted(consumer.assignment())[:MEMORIES]]
        except KafkaError as error:
            log.warning(log_event("baseline_not_read", error=type(error).__name__))
            return
        self.breaker.recall(offset.metadata for offset in stored if offset is not None)

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

    def _complete(self, acknowledged: Items) -> None:
        items = [item for item in acknowledged if not item.partition.is_lost]
        self._tracer.acknowledged([item.trace for item in acknowledged if item.trace.is_sampled])
        for item in items:
            item.is_completed = True
            if item.trace.is_sampled:
                self._tracer.completed(item.trace)
        self._limits.remove(sum([item.size_bytes for item in items]), sum([item.tokens for item in items]), len(items))
        self.progress.advanced(len(acknowledged))
        if self._settings.delivery.mode == "exactly_once":  # the offsets were in the transaction
            offsets = self._assignment.committable()
            self._assignment.stored(offsets)
            self._committed(offsets, time.time_ns())

    def _committed(self, offsets: Offsets, started_ns: int) -> None:
        self._tracer.committed({tp.topic for tp in offsets}, started_ns)

    def _drain(self, consumer: KafkaConsumer) -> None:
        """Finish and commit what is in flight, bounded in time; polling goes on, so the member stays in the group."""
        deadline = self._stop_deadline = self._drain_deadline()
        while self._clock() < deadline and not self.breaker.is_open and not self._commits.finished(consumer):
            consumer.pause(*consumer.assignment())
            self._take(self._intake.poll(consumer))
            self.advance()
            self.progress.beat()
        log.info(log_event("drained", left_in_flight=self._limits.records))
