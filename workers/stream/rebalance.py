"""What happens when the group moves partitions: drain and commit on revoke, forget on loss.

kafka-python awaits these callbacks on its I/O thread while the worker's thread is inside `poll` or `close`, and does
not hand partitions over before they return. So they may act on the worker's state; heartbeats go on meanwhile.
It is not asyncio: only kafka-python's own futures and sleeps can be awaited.
"""

import logging
import time
from collections.abc import Callable, Collection
from typing import Protocol

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.errors import KafkaError

from workers.log import event

log = logging.getLogger(__name__)
STEP_S = 0.005


class PartitionOwner(Protocol):
    """What the callbacks need of the worker."""

    def assign(self, partitions: Collection[TopicPartition]) -> None: ...

    def forget(self, partitions: Collection[TopicPartition]) -> None: ...

    def in_flight(self, partitions: Collection[TopicPartition]) -> int: ...

    def advance(self) -> None: ...

    def committable(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, OffsetAndMetadata]: ...


class Rebalance(AsyncConsumerRebalanceListener):
    """Callbacks of one consumer.

    Args:
        owner: the worker.
        consumer: its consumer.
        drain_timeout_s: longest wait for records in flight; what is left is judged again by the next owner.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        owner: PartitionOwner,
        consumer: KafkaConsumer,
        drain_timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._owner = owner
        self._consumer = consumer
        self._drain_timeout_s = drain_timeout_s
        self._clock = clock

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Begin to own partitions."""
        self._owner.assign(assigned)
        log.info(event("partitions_assigned", count=len(assigned)))

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Drain within the bound, commit, hand over."""
        deadline = self._clock() + self._drain_timeout_s
        while self._owner.in_flight(revoked) and self._clock() < deadline:
            self._owner.advance()
            await self._consumer._net.sleep(STEP_S)  # noqa: SLF001 - the only sleep of kafka-python's loop
        self._owner.advance()
        offsets = self._owner.committable(revoked)
        left = self._owner.in_flight(revoked)
        self._owner.forget(revoked)
        if offsets:
            try:
                await self._consumer.commit_async(offsets)
            except KafkaError as error:
                log.warning(event("commit_on_revoke_failed", error=type(error).__name__))
        log.info(event("partitions_revoked", count=len(revoked), left_in_flight=left))

    async def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        """Forget: another member owns them already, a commit would be a lie."""
        self._owner.forget(lost)
        log.warning(event("partitions_lost", count=len(lost)))
