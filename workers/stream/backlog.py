"""The effective backlog of a worker's partitions: what is not completed, rather than what is not committed.

A record is unfinished until it is completed: it is in flight, or not delivered yet. Kafka's own lag (log end minus
committed) grows behind one slow record while all others are finished, and does not see what is in flight.
Runs on the worker's thread and never waits: log ends are asked for, and read once they have come. Decides nothing.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from schemas.record import Partition
from workers.kafka.consumer import Consumer
from workers.stream.assignment import Assignment, InFlightRecord
from workers.stream.progress import Progress

SAMPLE_S = 0.5
WINDOW_S = 5.0  # rates are those of so long
STALE_S = 10.0  # log ends that are older are no figure
LOOK_S = 0.05  # whether an answer has come
REMEMBERED = 720  # log ends of each partition, one in `WINDOW_S`: an hour


class BacklogFigures(NamedTuple):
    """What a worker knows of its partitions.

    Attributes:
        records: effective backlog: log end minus completed, over all partitions that it owns.
        oldest_age_s: age of the oldest record in flight, 0 where nothing is unfinished; None while the oldest has not
            been delivered yet.
        arrival_rate: records a second that the partitions grew by; None before two looks at them.
        completion_rate: records a second that the worker completed; None before two looks.
        partitions: how many it owns.
        all_partitions: how many the input topics have: figures of all consumers are complete when they own so many.
    """

    records: int
    oldest_age_s: float | None
    arrival_rate: float | None
    completion_rate: float | None
    partitions: int
    all_partitions: int


class Backlog:
    """Measures.

    Args:
        progress: counts what is completed.
        clock: seconds, monotonic.
        wall: seconds since the epoch, which record timestamps are compared with.
    """

    def __init__(
        self, progress: Progress, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._progress = progress
        self._clock = clock
        self._wall = wall
        self._next = 0.0
        self._asked: Any = None
        self._asked_at = 0.0
        self._ends: dict[Partition, deque[tuple[float, int]]] = {}
        self._old_ends: dict[Partition, deque[tuple[float, int]]] = {}
        self._completed: deque[tuple[float, int]] = deque()
        self._figures: tuple[float, BacklogFigures] | None = None

    def figures(self) -> BacklogFigures | None:
        """The newest figures; None while there are none, or none that are new. From any thread."""
        known = self._figures
        return None if known is None or self._clock() - known[0] > STALE_S else known[1]

    def measure(self, consumer: Consumer, assignment: Assignment) -> float:
        """Ask for the log ends if it is time to, and look at what is owned when they have come.

        Returns:
            When to be called again, by the clock.
        """
        now = self._clock()
        if self._asked is not None and self._asked.is_done:
            self._read_ends()
        elif now < self._next:
            return now + LOOK_S
        else:
            self._next = now + SAMPLE_S
            owned = {partition.id for partition in assignment.owned()}
            self._ends = {partition: samples for partition, samples in self._ends.items() if partition in owned}
            self._old_ends = {partition: ends for partition, ends in self._old_ends.items() if partition in owned}
            if owned:
                if self._asked is None or now - self._asked_at > STALE_S:
                    self._asked_at = now
                    self._asked = consumer.ask_ends(owned)
                return now + LOOK_S
        _note(self._completed, now, self._progress.completed)
        figures = self._measure(consumer, assignment, now)
        if figures is not None:
            self._figures = now, figures
        return self._next

    def _read_ends(self) -> None:
        asked, self._asked = self._asked, None
        if asked.succeeded():  # else the brokers are down, or the partition is moving: asked again
            for (topic, number), found in asked.value.items():
                partition = Partition(topic, number)
                _note(self._ends.setdefault(partition, deque()), self._asked_at, found.offset)
                old = self._old_ends.setdefault(partition, deque(maxlen=REMEMBERED))
                if not old or self._asked_at - old[-1][0] >= WINDOW_S:
                    old.append((self._asked_at, found.offset))

    def _measure(self, consumer: Consumer, assignment: Assignment, now: float) -> BacklogFigures | None:
        """None where a partition's figures are missing: a sum without it would be too small."""
        records = 0
        ages: list[float] = []
        is_age_known = True
        if (all_partitions := consumer.partition_count()) is None:
            return None
        for partition in assignment.owned():
            position = consumer.position(partition.id)
            ends = self._ends.get(partition.id)
            if position is None or not ends or now - ends[-1][0] > STALE_S:
                return None
            undelivered = max(0, ends[-1][1] - position)
            in_flight = partition.offsets.in_flight()
            records += undelivered + len(in_flight)
            if in_flight:
                longest_s = self._longest_s(partition.id, in_flight[0].offset, now)
                ages.append(_age_s(in_flight[0], self._wall(), longest_s))
            elif undelivered:
                is_age_known = False
        age = max(ages) if ages else 0.0 if is_age_known else None
        rates = [rate for samples in self._ends.values() if (rate := _rate(samples)) is not None]
        owned = len(self._ends)
        arrivals = sum(rates) if rates else None if owned else 0.0
        return BacklogFigures(records, age, arrivals, _rate(self._completed), owned, all_partitions)

    def _longest_s(self, partition: Partition, offset: int, now: float) -> float:
        """How long a record can have been in its log at most: it was not when the log ended at its offset.

        A producer, or a mirror, may write a time of long ago, and an idle service is not behind for that.
        """
        known: list[tuple[float, int]] = [*self._old_ends.get(partition, ()), *self._ends.get(partition, ())]
        for at, end in reversed(known):
            if end <= offset:
                return now - at
        return float("inf")


def _age_s(item: InFlightRecord, now_s: float, longest_s: float) -> float:
    """By the record's own timestamp, at least since it was polled and at most `longest_s`: a producer writes any time.

    A timestamp of 0 or less is none: Kafka's word for that is -1.
    """
    stamped_s = item.record.timestamp_ms / 1000
    came_s = max(stamped_s, now_s - longest_s)
    polled_s = item.trace.started_ns / 1e9
    return max(0.0, now_s - (min(came_s, polled_s) if stamped_s > 0 else polled_s))


def _note(samples: deque[tuple[float, int]], at: float, value: int) -> None:
    samples.append((at, value))
    while len(samples) > 2 and at - samples[1][0] >= WINDOW_S:
        samples.popleft()


def _rate(samples: deque[tuple[float, int]]) -> float | None:
    if len(samples) < 2 or samples[-1][0] <= samples[0][0]:
        return None
    return max(0.0, (samples[-1][1] - samples[0][1]) / (samples[-1][0] - samples[0][0]))
