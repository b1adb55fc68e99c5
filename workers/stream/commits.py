"""Decides when an offset may be committed. `workers.stream.rebalance` commits once more as it hands partitions over.

Runs on the polling thread, because kafka-python answers a commit from inside `poll`.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from opentelemetry.metrics import Histogram

from pipelines.breaker.breaker import Breaker
from schemas.record import Partition
from workers.kafka.consumer import Consumer
from workers.kafka.errors import Meaning, meaning_of
from workers.stream.assignment import Assignment
from workers.telemetry.log import log_event
from workers.telemetry.message_trace import StreamTracer
from workers.telemetry.metrics.instruments import histogram
from workers.telemetry.metrics.table import OPERATION_DURATION

log = logging.getLogger(__name__)
ANSWER_S = 30.0
SIGN_S = 5.0
RETRY_S = 0.5
NEVER = -float("inf")
COMMIT = {"messaging.system": "kafka", "messaging.operation.name": "commit"}


@dataclass(eq=False)
class Commits:
    """Commits of one worker.

    Args:
        breaker: while it is open, nothing is committed.
        interval_s: time between two commits.
        is_named: a static member's: what is committed is committed again every few seconds of idleness. kafka-python
            3.0.12 does not tell a member that another one has taken its name, and lets it consume on; a commit does.
        in_transaction: the offsets go with the outcomes, and are stored as soon as these are acknowledged.
        clock: seconds, monotonic.
    """

    consumer: Consumer
    assignment: Assignment
    breaker: Breaker
    tracer: StreamTracer
    interval_s: float
    is_named: bool
    in_transaction: bool
    clock: Callable[[], float]
    _next: float = field(default=NEVER, init=False)
    _next_try: float = field(default=NEVER, init=False)
    _next_sign: float = field(default=0.0, init=False)
    _answer_due: float = field(default=NEVER, init=False)
    _refusal: BaseException | None = field(default=None, init=False)
    _duration: Histogram = field(default_factory=partial(histogram, OPERATION_DURATION), init=False)

    def commit_when_due(self) -> None:
        """Begin a commit if it is time for one.

        Raises:
            KafkaError: the last commit was refused in a way that no retry can help.
        """
        now = self.clock()
        is_due = now >= self._next or self._refusal is not None
        if is_due and not self.breaker.is_open and self._commit(now):
            self._next = now + self.interval_s

    def _commit(self, now: float) -> bool:
        """Begin a commit of all that may go; False while one is under way."""
        # 1. After a commit was refused for good, this worker is no longer a member: it ends.
        if self._refusal is not None:
            raise self._refusal
        # 2. One commit at a time, or an answer that comes late would undo a newer one.
        if now < self._answer_due:
            return False
        # 3. Of each partition, offsets up to the first record whose outcome the broker has not acknowledged (P2).
        offsets = self.assignment.committable()
        # 4. A static member with nothing new commits again, to learn whether the name is still its own.
        if not offsets and self.is_named and now >= self._next_sign:
            offsets = self.assignment.committed()
        # 5. The breaker's baseline goes along, for the worker that comes next; a later poll brings the answer.
        if offsets:
            self._next_sign = now + SIGN_S
            self._answer_due = now + ANSWER_S
            started_ns = time.time_ns()
            self.consumer.commit(
                offsets, self.breaker.baseline(), lambda error: self._answered(offsets, started_ns, error)
            )
        return True

    def _answered(self, offsets: dict[Partition, int], started_ns: int, error: BaseException | None) -> None:
        self._answer_due = NEVER
        seconds = (time.time_ns() - started_ns) / 1e9
        self._duration.record(seconds, COMMIT if error is None else COMMIT | {"error.type": "refused"})
        # 6. Only what the coordinator has stored is committed.
        if error is None:
            self._stored(offsets, started_ns)
            return
        log.warning(log_event("commit_failed", error=type(error).__name__))
        if meaning_of(error) is Meaning.FATAL:
            self._refusal = error

    def _stored(self, offsets: dict[Partition, int], started_ns: int) -> None:
        self.assignment.stored(offsets)
        self.tracer.committed({partition.topic for partition in offsets}, started_ns)

    def completed(self) -> None:
        """Told when outcomes were acknowledged: in a transaction, their offsets are stored by now."""
        if self.in_transaction:
            self._stored(self.assignment.committable(), time.time_ns())

    def finished(self) -> bool:
        """True once nothing is in flight and all of it is committed; raises as `commit_when_due`.

        A worker that stops asks between polls: kafka-python refuses commits while it waits for the group to rebalance,
        even those of a revocation in `close`, and what is left uncommitted is published again by the next worker.
        """
        if self._refusal is not None:
            raise self._refusal
        now = self.clock()
        if not self.assignment.is_idle or now < self._answer_due:
            return False
        if not self.assignment.committable():
            return True
        if now >= self._next_try:
            self._next_try = now + RETRY_S
            self._commit(now)
        return False
