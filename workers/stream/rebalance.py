"""What happens when the group moves partitions: drain and commit on revoke, forget on loss, recall what came with them.

The worker's thread sits inside `poll` or `close` meanwhile, and partitions are not handed over before these callbacks
return. So they may act on the worker's state; heartbeats go on.
"""

import logging
import time
from collections.abc import Callable, Collection

from pipelines.breaker.breaker import Breaker
from schemas.record import Partition
from workers.kafka.consumer import Consumer
from workers.kafka.errors import KafkaError
from workers.stream.assignment import Assignment
from workers.telemetry.log import log_event
from workers.telemetry.message_trace import StreamTracer

log = logging.getLogger(__name__)
STEP_S = 0.005
BASELINES = 8  # of so many partitions, which is enough: all hold their workers' baselines of the same traffic


class Rebalance:
    """A `workers.kafka.connection.Listener`.

    Args:
        consumer: the worker's.
        assignment: the worker's partitions.
        breaker: its baseline goes along with what is committed.
        tracer: told of each commit that the coordinator has stored.
        advance: lets the worker decide, release and complete without waiting.
        drain_deadline: until when a drain that begins now may wait; what is left is judged again by the next owner.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        consumer: Consumer,
        assignment: Assignment,
        breaker: Breaker,
        tracer: StreamTracer,
        advance: Callable[[], None],
        drain_deadline: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._consumer = consumer
        self._assignment = assignment
        self._breaker = breaker
        self._tracer = tracer
        self._advance = advance
        self._drain_deadline = drain_deadline
        self._clock = clock

    async def assigned(self, partitions: Collection[Partition]) -> None:
        """Begin to own partitions."""
        self._assignment.assign(partitions)
        log.info(log_event("partitions_assigned", count=len(partitions)))

    async def revoked(self, partitions: Collection[Partition]) -> None:
        """Drain within the bound, commit, hand over."""
        deadline = self._drain_deadline()
        while self._assignment.in_flight(partitions) and self._clock() < deadline:
            self._advance()
            await self._consumer.sleep(STEP_S)
        self._advance()
        left = self._assignment.in_flight(partitions)
        await self._hand_over(partitions)
        log.info(log_event("partitions_revoked", count=len(partitions), left_in_flight=left))

    async def _hand_over(self, partitions: Collection[Partition]) -> None:
        """Stop owning revoked partitions, and commit what is completed of them before another member reads on."""
        offsets = self._assignment.committable(partitions)
        self._assignment.forget(partitions)
        if not offsets:
            return
        started_ns = time.time_ns()
        try:
            await self._consumer.commit_and_wait(offsets, self._breaker.baseline())
        except KafkaError as error:
            log.warning(log_event("commit_on_revoke_failed", error=type(error).__name__))
        else:
            self._tracer.committed({partition.topic for partition in offsets}, started_ns)

    async def lost(self, partitions: Collection[Partition]) -> None:
        """Forget: another member owns them already, and a commit of ours would be wrong."""
        self._assignment.forget(partitions)
        log.warning(log_event("partitions_lost", count=len(partitions)))


def recall_baseline(consumer: Consumer, breaker: Breaker) -> None:
    """Begin with the mix of verdicts that the workers before this one saw: it stands beside their offsets."""
    try:
        stored = consumer.committed_texts(sorted(consumer.assignment())[:BASELINES])
    except KafkaError as error:
        log.warning(log_event("baseline_not_read", error=type(error).__name__))
        return
    breaker.restore(stored)
