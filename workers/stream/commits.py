"""Commits of what is completed, every so often and one at a time; the commits of a rebalance are its own.

Runs on the thread that polls: kafka-python answers a commit from inside `poll`.
"""

import logging
import time
from collections.abc import Callable

from kafka import KafkaConsumer

from workers.kafka.errors import Meaning, meaning_of
from workers.stream.assignment import Assignment, Offsets
from workers.telemetry.log import log_event
from workers.telemetry.metrics.instruments import histogram
from workers.telemetry.metrics.table import OPERATION_DURATION

log = logging.getLogger(__name__)
ANSWER_S = 30.0
SIGN_S = 5.0
RETRY_S = 0.5
COMMIT = {"messaging.system": "kafka", "messaging.operation.name": "commit"}


class Commits:
    """Commits the offsets of an assignment.

    Args:
        assignment: the worker's partitions.
        interval_s: time between two commits.
        is_named: a static member's: what is committed is committed again every few seconds of idleness. kafka-python
            3.0.12 does not tell a member that another one has taken its name, and lets it consume on; a commit does.
        committed: told of a commit that the coordinator has stored, and when it was begun, in nanoseconds.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        assignment: Assignment,
        interval_s: float,
        is_named: bool,
        committed: Callable[[Offsets, int], None],
        clock: Callable[[], float],
    ) -> None:
        self._assignment = assignment
        self._interval_s = interval_s
        self._is_named = is_named
        self._committed = committed
        self._clock = clock
        self._next = 0.0
        self._next_sign = 0.0
        self._next_try = 0.0
        self._answer_due: float | None = None
        self._started_ns = 0
        self._refusal: BaseException | None = None
        self._duration = histogram(OPERATION_DURATION)

    def commit_when_due(self, consumer: KafkaConsumer) -> None:
        """Begin a commit if it is time for one, the last one was answered and there is something to commit.

        Raises:
            KafkaError: the last commit was refused in a way that no retry can help.
        """
        if self._refusal is not None:
            raise self._refusal
        now = self._clock()
        if now < self._next or (self._answer_due is not None and now < self._answer_due):
            return
        self._next = now + self._interval_s
        offsets = self._assignment.committable()
        if not offsets and self._is_named and now >= self._next_sign:
            offsets = self._assignment.committed()
        if offsets:
            self._begin(consumer, offsets, now)

    def finished(self, consumer: KafkaConsumer) -> bool:
        """True once nothing is in flight and all of it is committed; asked between polls by a worker that stops.

        kafka-python refuses commits while it waits for the group to rebalance, those of a revocation in `close`
        included. So they are tried again before: who leaves uncommitted work behind has it published again.

        Raises:
            KafkaError: the last commit was refused in a way that no retry can help.
        """
        if self._refusal is not None:
            raise self._refusal
        now = self._clock()
        if not self._assignment.is_idle or (self._answer_due is not None and now < self._answer_due):
            return False
        offsets = self._assignment.committable()
        if offsets and now >= self._next_try:
            self._next_try = now + RETRY_S
            self._begin(consumer, offsets, now)
        return not offsets

    def _begin(self, consumer: KafkaConsumer, offsets: Offsets, now: float) -> None:
        self._next_sign = now + SIGN_S
        self._answer_due = now + ANSWER_S
        self._started_ns = time.time_ns()
        consumer.commit_async(offsets, callback=self._answered)

    def _answered(self, offsets: Offsets, answer: object) -> None:
        self._answer_due = None
        is_refused = isinstance(answer, BaseException)
        seconds = (time.time_ns() - self._started_ns) / 1e9
        self._duration.record(seconds, COMMIT | ({"error.type": "refused"} if is_refused else {}))
        if isinstance(answer, BaseException):
            log.warning(log_event("commit_failed", error=type(answer).__name__))
            if meaning_of(answer) is Meaning.FATAL:
                self._refusal = answer
            return
        self._assignment.stored(offsets)
        self._committed(offsets, self._started_ns)
