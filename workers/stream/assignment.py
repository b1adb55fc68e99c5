"""The partitions that this member owns, and what is in flight of them.

Does not consume, publish or commit.
"""

from collections.abc import Callable, Collection, Iterator

from kafka import OffsetAndMetadata, TopicPartition

from pipelines.in_flight import InFlightLimits
from workers.stream.in_flight_record import AssignedPartition, InFlightRecord

Offsets = dict[TopicPartition, OffsetAndMetadata]


class Assignment:
    """Owned partitions.

    Args:
        limits: counts what is in flight.
        note: the text that is stored with committed offsets, now.
    """

    def __init__(self, limits: InFlightLimits, note: Callable[[], str]) -> None:
        self._limits = limits
        self._note = note
        self._partitions: dict[TopicPartition, AssignedPartition] = {}

    def assign(self, partitions: Collection[TopicPartition]) -> None:
        """Begin to own partitions."""
        for tp in partitions:
            self._partitions[tp] = AssignedPartition(tp)

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Stop owning partitions: nothing of theirs is published or committed from now on."""
        for tp in partitions:
            partition = self._partitions.pop(tp, None)
            if partition is None:
                continue
            partition.is_lost = True
            for item in partition.offsets.in_flight():
                item.trace.end()
                self._limits.remove(item.size_bytes, item.tokens)

    def begin_anew(self, partitions: Collection[TopicPartition]) -> None:
        """Forget what is in flight of owned partitions, and where they stood; they stay owned."""
        owned = [tp for tp in partitions if tp in self._partitions]
        self.forget(owned)
        self.assign(owned)

    def went_back(self, tp: TopicPartition, offset: int) -> int | None:
        """Where to read a partition from that delivers an offset again: before all that is unfinished. Else None."""
        owned = self._partitions.get(tp)
        if owned is None or owned.offsets.delivered_to is None or offset >= owned.offsets.delivered_to:
            return None
        return offset if owned.offsets.committed is None else min(offset, owned.offsets.committed)

    def get(self, topic: str, partition: int) -> AssignedPartition | None:
        """An owned partition, else None."""
        return self._partitions.get(TopicPartition(topic, partition))

    def owned(self) -> Collection[AssignedPartition]:
        """All owned partitions."""
        return self._partitions.values()

    @property
    def is_idle(self) -> bool:
        """True while nothing is in flight."""
        return not self._limits.records

    def release(self) -> list[InFlightRecord]:
        """What is decided and next in its partition's order, each record once."""
        return [item for partition in self._partitions.values() for item in partition.offsets.release()]

    def in_flight(self, partitions: Collection[TopicPartition]) -> int:
        """Records in flight of some partitions."""
        return sum(len(owned.offsets.in_flight()) for _, owned in self._owned(partitions))

    def committable(self, partitions: Collection[TopicPartition] | None = None) -> Offsets:
        """Offsets that are ahead of what is committed, of all or of some partitions."""
        note = self._note()
        return {
            tp: OffsetAndMetadata(offset, note, -1)
            for tp, owned in self._owned(self._partitions if partitions is None else partitions)
            if (offset := owned.offsets.uncommitted) is not None
        }

    def committed(self) -> Offsets:
        """Offsets as far as they are known to be committed."""
        note = self._note()
        return {
            tp: OffsetAndMetadata(owned.offsets.committed, note, -1)
            for tp, owned in self._partitions.items()
            if owned.offsets.committed is not None
        }

    def stored(self, offsets: Offsets) -> None:
        """Note that the coordinator has stored these offsets; those of before a partition began anew are no news."""
        for tp, owned in self._owned(offsets):
            if offsets[tp].offset <= (owned.offsets.delivered_to or 0):
                owned.offsets.committed = offsets[tp].offset

    def _owned(self, partitions: Collection[TopicPartition]) -> Iterator[tuple[TopicPartition, AssignedPartition]]:
        for tp in partitions:
            if tp in self._partitions:
                yield tp, self._partitions[tp]
