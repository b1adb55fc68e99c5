"""What happens when the group moves partitions: drain and commit on revoke, forget on loss.

kafka-python awaits these callbacks on its I/O thread while the worker's thread is inside `poll` or `close`, and does
not hand partitions over before they return. So they may act on the worker's state; heartbeats go on meanwhile.
It is not asyncio: only kafka-python's own futures and sleeps can be awaited.
"""

import logging
import time
from collections.abc import Callable, Collection

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.errors import KafkaError

from workers.kafka.membership import Membership
from workers.stream.assignment import Assignment, Offsets
from workers.telemetry.log import log_event

log = logging.getLogger(__name__)
STEP_S = 0.005


class Rebalance(AsyncConsumerRebalanceListener):
    """Callbacks of one consumer.

    Args:
        consumer: the worker's consumer.
        assignment: the worker's partitions.
        drain_deadline: until when a drain that begins now may wait; what is left is judged again by the next owner.
        membership: told of each assignment.
        advance: lets the worker decide, release and complete without waiting.
        committed: told of a commit that the coordinator has stored, and when it was begun, in nanoseconds.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        consumer: KafkaConsumer,
        assignment: Assignment,
        drain_deadline: Callable[[], float],
        membership: Membership,
        *,
        advance: Callable[[], None],
        committed: Callable[[Offsets, int], None],
        clock: Callable[[], float],
    ) -> None:
        self._consumer = consumer
        self._assignment = assignment
        self._drain_deadline = drain_deadline
        self._membership = membership
        self._advance = advance
        self._committed = committed
        self._clock = clock

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Begin to own partitions."""
        self._membership.assigned()
        self._assignment.assign(assigned)
        log.info(log_event("partitions_assigned", count=len(assigned)))

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Drain within the bound, commit, hand over."""
        self._membership.rebalances["revoked"] += 1
        deadline = self._drain_deadline()
        while self._assignment.in_flight(revoked) and self._clock() < deadline:
            self._advance()
            await self._consumer._net.sleep(STEP_S)  # noqa: SLF001 - the only sleep of kafka-python's loop
        self._advance()
        offsets = self._assignment.committable(revoked)
        left = self._assignment.in_flight(revoked)
        self._assignment.forget(revoked)
        if offsets:
            started_ns = time.time_ns()
            try:
                await self._consumer.commit_async(offsets)
                self._committed(offsets, started_ns)
            except KafkaError as error:
                log.warning(log_event("commit_on_revoke_failed", error=type(error).__name__))
        log.info(log_event("partitions_revoked", count=len(revoked), left_in_flight=left))

    async def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        """Forget: another member owns them already, a commit would be a lie."""
        self._membership.rebalances["lost"] += 1
        self._assignment.forget(lost)
        log.warning(log_event("partitions_lost", count=len(lost)))
