"""Records of deltas in flight, and what is said of their turns.

A turn's first record stays in flight until the last word on the turn is acknowledged, so that the group's offset never
passes it and whoever comes next reads the whole turn again. All others are completed as soon as they are judged.
"""

from collections.abc import Collection

from pipelines.in_flight import bytes_of
from schemas.record import Partition, SourceRecord
from schemas.turns.verdict import StreamVerdict
from workers.stream.assignment import AssignedPartition, Assignment, InFlightRecord
from workers.telemetry.message_trace import MessageTrace

_MOST_KEY = 1_024  # bytes


class DeltaRecord(InFlightRecord):
    """A delivered record.

    Attributes:
        is_first: an open turn began with it.
        rests: it waits for a writer: the turn that began with it is judged as far as it is known, or frames before it
            are missing.
    """

    __slots__ = ("is_first", "rests")

    def __init__(self, partition: AssignedPartition, record: SourceRecord, trace: MessageTrace) -> None:
        super().__init__(partition, record, trace)
        self.is_first = self.rests = False

    @property
    def is_decided(self) -> bool:
        """What is said leaves in the order of turns, not of records: nothing waits for this one."""
        return self.is_completed

    def lighten(self, *, is_counted: bool) -> None:
        """Let go of the value, which the turn has by now; what stays in flight for long shall not count for it."""
        self.record = self.record._replace(value=None, headers=())
        if self.is_first and not is_counted:
            self.size_bytes = bytes_of(self.record)


class SaidRecord(InFlightRecord):
    """A verdict on its way to the broker, about the turn whose first record is `first`; the last one ends that."""

    __slots__ = ("first", "said")

    def __init__(self, first: DeltaRecord, said: StreamVerdict) -> None:
        super().__init__(first.partition, first.record, first.trace)
        self.first = first
        self.said = said

    @property
    def key(self) -> bytes:
        """That of the deltas, so that both topics are split in the same way."""
        key = self.record.key
        return self.said.conversation_id.encode() if key is None or len(key) > _MOST_KEY else key


class TurnAssignment(Assignment):
    """Owned partitions, of whose records those that rest are not waited for when partitions are handed over."""

    @property
    def is_idle(self) -> bool:
        """True while nothing is in flight but records that rest. From any thread."""
        try:
            return not self.in_flight([owned.id for owned in self.owned()])
        except RuntimeError:  # another thread looks, and the worker has changed it meanwhile: so it is at work
            return False

    def in_flight(self, partitions: Collection[Partition]) -> int:
        """Records in flight of some partitions that do not rest."""
        owned = [found for partition in partitions if (found := self.get(partition)) is not None]
        items = [item for each in owned for item in each.offsets.in_flight()]
        return sum(not (isinstance(item, DeltaRecord) and item.rests) for item in items)
