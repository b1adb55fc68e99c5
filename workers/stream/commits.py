"""Commits of what is completed, every so often and one at a time; the commits of a rebalance are its own.

Runs on the thread that polls: kafka-python answers a commit from inside `poll`.
"""

import logging
import time
from collections.abc import Callable

from kafka import KafkaConsumer

from workers.log import event
from workers.stream.assignment import Assignment, Offsets

log = logging.getLogger(__name__)
ANSWER_S = 30.0


class Commits:
    """Commits the offsets of an assignment.

    Args:
        assignment: the worker's partitions.
        interval_s: time between two commits.
        committed: told of a commit that the coordinator has stored, and when it was begun, in nanoseconds.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        assignment: Assignment,
        interval_s: float,
        committed: Callable[[Offsets, int], None],
        clock: Callable[[], float],
    ) -> None:
        self._assignment = assignment
        self._interval_s = interval_s
        self._committed = committed
        self._clock = clock
        self._next = 0.0
        self._answer_due: float | None = None
        self._started_ns = 0

    def commit_when_due(self, consumer: KafkaConsumer) -> None:
        """Begin a commit if it is time for one, the last one was answered and there is something to commit."""
        now = self._clock()
        if now < self._next or (self._answer_due is not None and now < self._answer_due):
            return
        self._next = now + self._interval_s
        if offsets := self._assignment.committable():
            self._answer_due = now + ANSWER_S
            self._started_ns = time.time_ns()
            consumer.commit_async(offsets, callback=self._answered)

    def _answered(self, offsets: Offsets, answer: object) -> None:
        self._answer_due = None
        if isinstance(answer, BaseException):
            log.warning(event("commit_failed", error=type(answer).__name__))
            return
        self._assignment.stored(offsets)
        self._committed(offsets, self._started_ns)
