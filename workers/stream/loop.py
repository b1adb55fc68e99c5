"""A record's way through the worker, turn by turn: poll, admit, ask, decide, release, complete, commit.

Guard calls run on an asyncio loop and the publisher on its own thread, and both answer through a mailbox. Everything
else is done here, on the worker's thread, and only the poll waits.
"""

from dataclasses import dataclass, field

from schemas.errors import UnreadableRecordsError
from schemas.record import SourceRecord
from workers.kafka.errors import KafkaError
from workers.stream.decisions import Decisions, GuardCalls, Items
from workers.stream.parts import Parts
from workers.stream.publisher import Publisher
from workers.stream.rebalance import recall_baseline

BUSY_POLL_MS = 5
IDLE_POLL_MS = 100
JOIN_POLL_MS = 700  # a join that ends between two polls is begun again (3.0.12): few polls, none ending at Kafka's 3 s


@dataclass(kw_only=True, eq=False)
class Loop(Parts):
    """The parts of one worker, at work.

    Args:
        decisions: what becomes of a record before and after the guard.
        calls: asks the guard.
        publisher: publishes what is decided.
    """

    decisions: Decisions
    calls: GuardCalls
    publisher: Publisher
    _has_recalled: bool = field(default=False, init=False)
    _measure_at: float = field(default=-float("inf"), init=False)

    def turn(self) -> None:
        """Move everything on by what can be done now.

        Raises:
            KafkaError: no retry can help.
        """
        self._apply_pressure()
        records = (self.unreadable.held and self.detours.passed_over(self.breaker, self.limits)) or self._poll()
        with self.publisher.held_off():
            self._take(records)
            self.advance()
        self.commits.commit_when_due()
        if self.clock() >= self._measure_at:
            self._measure_at = self.backlog.measure(self.consumer, self.assignment)
        self.progress.beat()

    def drain(self) -> None:
        """Take nothing more in, and move on what is there; polling keeps the member in the group."""
        self.consumer.pause(self.consumer.assignment())
        self._take(self._poll())
        self.advance()
        self.progress.beat()

    def _apply_pressure(self) -> None:
        """Pause what is not to be fetched, resume what is."""
        paused, assigned = self.consumer.paused(), self.consumer.assignment()
        wanted = assigned if self.breaker.is_open else self.assignment.held() & assigned
        if self.unreadable.held:
            wanted |= self.unreadable.waiting(self.consumer)
        if resumed := paused - wanted:
            self.consumer.resume(resumed)
        self.consumer.pause(wanted - paused)

    def _poll(self) -> list[SourceRecord]:
        """The next records of partitions that are not paused.

        Where a partition goes back, or its topic was created again, what was in flight of it is forgotten.
        """
        consumer = self.consumer
        for topic in consumer.recreated():
            self.detours.begin_anew(topic)
        idle_ms = IDLE_POLL_MS if consumer.assignment() else JOIN_POLL_MS
        room = min(self.kafka.max_poll_records, self.limits.room)
        try:
            polled = consumer.poll(BUSY_POLL_MS if self.limits.records else idle_ms, room, self.limits.room_bytes)
        except (KafkaError, UnreadableRecordsError) as error:
            self.detours.failed(error)
            return []
        taken: list[SourceRecord] = []
        for partition, records in polled.items():
            if self.assignment.is_new(partition) and self.detours.begins_in_another_life(partition, records[0].offset):
                continue
            if (back_to := self.assignment.went_back(partition, records[0].offset)) is None:
                taken += records
            else:
                self.detours.go_back(partition, back_to)
        return taken

    def _take(self, records: list[SourceRecord]) -> None:
        if not records:
            return
        if not self.limits.records:
            self.progress.advanced()
        if not self._has_recalled:
            self._has_recalled = True
            recall_baseline(self.consumer, self.breaker)
        taken = self.decisions.admit(records)
        self.assignment.taken(taken)
        undecided = [item for item in taken if not item.is_decided]
        while undecided:
            # A call holds all that share it: one that is at least half full ends where a partition does.
            most = min(len(undecided), self.chunk_size)
            partitions = [item.partition for item in undecided[: most + 1]]
            ends = (n for n in range(most, self.chunk_size // 2, -1) if partitions[n - 1 : n] != partitions[n : n + 1])
            size = next(ends, most)
            self.calls.ask(undecided[:size])
            undecided = undecided[size:]

    def advance(self) -> None:
        """Decide what was judged, release in offset order, complete what was acknowledged. Never waits."""
        if self.publisher.failure is not None:
            raise self.publisher.failure
        for items, judged in self.calls.answered():
            self.decisions.decide(items, judged)
        if self.breaker.is_open:
            self.progress.held()
        elif released := self.assignment.release():
            self.publisher.publish(released)
        while not self.acknowledged.empty():
            self._complete(self.acknowledged.get())

    def _complete(self, items: Items) -> None:
        self.outcomes.add(items)
        self.tracer.acknowledged([item.trace for item in items if item.trace.is_sampled])
        self.assignment.complete(items)
        for item in items:
            if item.trace.is_sampled and item.is_completed:
                self.tracer.completed(item.trace)
        self.progress.advanced(len(items))
        self.commits.completed()
