"""A record's way through the worker, turn by turn: poll, admit, ask, decide, release, complete, commit.

Guard calls run on an asyncio loop and the publisher on its own thread, and both answer through a mailbox. Everything
else is done here, on the worker's thread, and only the poll waits.
"""

import logging
import queue
from collections.abc import Callable

from pipelines.breaker.breaker import Breaker
from pipelines.in_flight import InFlightLimits
from schemas.errors import UnreadableRecordsError
from schemas.record import SourceRecord
from workers.kafka.consumer import Consumer
from workers.kafka.errors import KafkaError, Meaning, meaning_of
from workers.kafka.topic_lives import TopicLives
from workers.settings.loading import Settings
from workers.stream.assignment import Assignment
from workers.stream.backlog import Backlog
from workers.stream.commits import Commits
from workers.stream.decisions import Decisions, GuardCalls, Items
from workers.stream.progress import OutcomeCounts, Progress
from workers.stream.publisher import Publisher
from workers.stream.unreadable import UnreadablePartitions
from workers.telemetry.log import log_event
from workers.telemetry.message_trace import StreamTracer

log = logging.getLogger(__name__)
BUSY_POLL_MS = 5
IDLE_POLL_MS = 100
JOIN_POLL_MS = 700  # a join that ends between two polls is begun again (3.0.12): few polls, none ending at Kafka's 3 s
BASELINES = 8  # of so many partitions, which is enough: all hold their workers' baselines of the same traffic
Mailbox = queue.SimpleQueue[Items]


class Loop:
    """The parts of one worker, at work.

    Args:
        settings: all settings.
        consumer: a member of the group.
        limits: what is in flight, and how much more may be.
        assignment: the partitions that are owned.
        unreadable: those of them that cannot be read for now.
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
        wait: waits for seconds, or until the worker is to stop.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        consumer: Consumer,
        limits: InFlightLimits,
        assignment: Assignment,
        unreadable: UnreadablePartitions,
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
        wait: Callable[[float], object],
        clock: Callable[[], float],
    ) -> None:
        self._kafka = settings.kafka
        self._chunk_size = settings.delivery.chunk_size
        self._lives = TopicLives(settings.topics.events)
        self._consumer = consumer
        self._limits = limits
        self._assignment = assignment
        self._unreadable = unreadable
        self._decisions = decisions
        self._calls = calls
        self._publisher = publisher
        self._acknowledged = acknowledged
        self._commits = commits
        self._outcomes = outcomes
        self._progress = progress
        self._backlog = backlog
        self._tracer = tracer
        self._breaker = breaker
        self._wait = wait
        self._clock = clock
        self._has_recalled = False
        self._measure_at = -float("inf")

    def turn(self) -> None:
        """Move everything on by what can be done now.

        Raises:
            KafkaError: no retry can help.
        """
        self._apply_pressure()
        records = self._poll()
        with self._publisher.held_off():
            self._take(records)
            self.advance()
        self._commits.commit_when_due()
        if self._clock() >= self._measure_at:
            self._measure_at = self._backlog.measure(self._consumer, self._assignment)
        self._progress.beat()

    def drain(self) -> None:
        """Take nothing more in, and move on what is there; polling keeps the member in the group."""
        self._consumer.pause(self._consumer.assignment())
        self._take(self._poll())
        self.advance()
        self._progress.beat()

    def _apply_pressure(self) -> None:
        """Pause what is not to be fetched, resume what is."""
        paused, assigned = self._consumer.paused(), self._consumer.assignment()
        is_full = self._limits.is_full or self._breaker.is_open
        wanted = assigned if is_full else self._unreadable.waiting(self._consumer) if self._unreadable.held else set()
        if resumed := paused - wanted:
            self._consumer.resume(resumed)
        self._consumer.pause(wanted - paused)

    def _poll(self) -> list[SourceRecord]:
        """The next records of partitions that are not paused.

        Where a partition goes back, or its topic was created again, what was in flight of it is forgotten.
        """
        consumer = self._consumer
        for topic in consumer.recreated(self._lives):
            partitions = [partition for partition in consumer.assignment() if partition.topic == topic]
            self._assignment.begin_anew(partitions)
            consumer.begin_anew(partitions)
        idle_ms = IDLE_POLL_MS if consumer.assignment() else JOIN_POLL_MS
        room = min(self._kafka.max_poll_records, self._limits.room) or 1  # paused when 0: nothing comes
        try:
            polled = consumer.poll(BUSY_POLL_MS if self._limits.records else idle_ms, room)
        except UnreadableRecordsError as error:
            self._unreadable.hold(error)
            return []
        except KafkaError as error:
            if meaning_of(error) is Meaning.FATAL:
                raise
            log.warning(log_event("poll_failed", error=str(error)))
            self._wait(self._kafka.heartbeat_interval_ms / 3000)
            return []
        taken: list[SourceRecord] = []
        for partition, records in polled.items():
            if (back_to := self._assignment.went_back(partition, records[0].offset)) is None:
                taken += records
                continue
            topic, number = partition
            log.warning(log_event("partition_went_back", topic=topic, partition=number, offset=back_to))
            self._assignment.begin_anew([partition])
            consumer.seek(partition, back_to)
        return taken

    def _take(self, records: list[SourceRecord]) -> None:
        if not records:
            return
        if not self._limits.records:
            self._progress.advanced()
        if not self._has_recalled:
            self._recall()
        taken = self._decisions.admit(records)
        self._limits.add(sum([item.size_bytes for item in taken]), sum([item.tokens for item in taken]), len(taken))
        undecided = [item for item in taken if not item.is_decided]
        for start in range(0, len(undecided), self._chunk_size):
            self._calls.ask(undecided[start : start + self._chunk_size])

    def advance(self) -> None:
        """Decide what was judged, release in offset order, complete what was acknowledged. Never waits."""
        if self._publisher.failure is not None:
            raise self._publisher.failure
        for items, judged in self._calls.answered():
            self._decisions.decide(items, judged)
        if self._breaker.is_open:
            self._progress.held()
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
        self._progress.advanced(len(items))
        self._commits.completed()

    def _recall(self) -> None:
        """Begin with the mix of verdicts that the workers before this one saw: it stands beside their offsets."""
        self._has_recalled = True
        try:
            stored = self._consumer.committed_texts(sorted(self._consumer.assignment())[:BASELINES])
        except KafkaError as error:
            log.warning(log_event("baseline_not_read", error=type(error).__name__))
            return
        self._breaker.restore(stored)
