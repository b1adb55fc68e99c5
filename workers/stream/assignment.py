"""The partitions that this member owns, and what is in flight of them.

Does not consume, publish or commit. What the offsets of one partition mean is said in `pipelines.in_flight`.
"""

from collections.abc import Collection, Iterator, Sequence

from pipelines.in_flight import InFlightLimits, Load, PartitionOffsets, bytes_of
from pipelines.moderation import Admitted, Ruling
from schemas.reasons import Reason
from schemas.record import Partition, SourceRecord
from workers.telemetry.log import ids_of
from workers.telemetry.message_trace import MessageTrace


class AssignedPartition:
    """A partition while this member owns it. Once lost or handed over, nothing of it may be published or committed."""

    __slots__ = ("id", "is_held", "is_lost", "load", "offsets")

    def __init__(self, partition: Partition) -> None:
        self.id = partition
        self.offsets: PartitionOffsets[InFlightRecord] = PartitionOffsets()
        self.is_lost = self.is_held = False
        self.load = Load()


class InFlightRecord:
    """A delivered record on its way to an acknowledged outcome."""

    __slots__ = (
        "admitted", "is_completed", "offset", "partition", "record", "ruling", "size_bytes", "skipped",
        "tokens", "trace",
    )  # fmt: skip

    def __init__(self, partition: AssignedPartition, record: SourceRecord, trace: MessageTrace) -> None:
        self.partition = partition
        self.record = record
        self.offset = record.offset
        self.trace = trace
        self.size_bytes = bytes_of(record)
        self.tokens = 0
        self.admitted: Admitted | None = None  # while it is judged
        self.ruling: Ruling | None = None
        self.skipped: Reason | None = None  # there is nothing to judge: it ends without an outcome
        self.is_completed = False

    @property
    def log_fields(self) -> dict[str, str]:
        """What a log line about this record says: its source, and its trace where it has one."""
        return {"record_id": self.record.record_id, **ids_of(self.trace.carrier)}

    @property
    def is_decided(self) -> bool:
        """True once its outcome is known, or that it needs none."""
        return self.ruling is not None or self.skipped is not None


class Assignment:
    """Owned partitions; `limits` counts what is in flight of them."""

    def __init__(self, limits: InFlightLimits) -> None:
        self._limits = limits
        self._partitions: dict[Partition, AssignedPartition] = {}

    def assign(self, partitions: Collection[Partition]) -> None:
        """Begin to own partitions."""
        for partition in partitions:
            self._partitions[partition] = AssignedPartition(partition)

    def forget(self, partitions: Collection[Partition]) -> None:
        """Stop owning partitions: nothing of theirs is published or committed from now on."""
        for partition in partitions:
            owned = self._partitions.pop(partition, None)
            if owned is None:
                continue
            owned.is_lost = True
            for item in owned.offsets.in_flight():
                item.trace.end()
                self._limits.remove(item.size_bytes, item.tokens)

    def begin_anew(self, partitions: Collection[Partition]) -> None:
        """Forget what is in flight of owned partitions, and where they stood; they stay owned."""
        owned = [partition for partition in partitions if partition in self._partitions]
        self.forget(owned)
        self.assign(owned)

    def is_new(self, partition: Partition) -> bool:
        """Whether nothing of an owned partition was delivered yet."""
        return (owned := self._partitions.get(partition)) is not None and owned.offsets.delivered_to is None

    def went_back(self, partition: Partition, offset: int) -> int | None:
        """Where to read from, if a partition delivers an offset again: before all that is unfinished. Else None."""
        owned = self._partitions.get(partition)
        if owned is None or owned.offsets.delivered_to is None or offset >= owned.offsets.delivered_to:
            return None
        return offset if owned.offsets.committed is None else min(offset, owned.offsets.committed)

    def get(self, partition: Partition) -> AssignedPartition | None:
        """An owned partition, else None."""
        return self._partitions.get(partition)

    def owned(self) -> Collection[AssignedPartition]:
        """All owned partitions."""
        return self._partitions.values()

    @property
    def is_idle(self) -> bool:
        """True while nothing is in flight."""
        return not self._limits.records

    def taken(self, items: Sequence[InFlightRecord]) -> None:
        """Count records as in flight, now that their tokens are known."""
        for item in items:
            item.partition.load.add(item.size_bytes, item.tokens)
        self._limits.taken += len(items)
        self._limits.add(sum([item.size_bytes for item in items]), sum([item.tokens for item in items]), len(items))

    def held(self) -> set[Partition]:
        """Partitions that are not to be fetched because of what is in flight."""
        for owned in self._partitions.values():
            owned.is_held = self._limits.holds(owned.load, is_held=owned.is_held)
        return {owned.id for owned in self._partitions.values() if owned.is_held}

    @property
    def is_full(self) -> bool:
        """True while any partition is held; from any thread."""
        return any(partition.is_held for partition in list(self._partitions.values()))

    def release(self) -> list[InFlightRecord]:
        """What is decided and next in its partition's order, each record once."""
        return [item for partition in self._partitions.values() for item in partition.offsets.release()]

    def complete(self, items: Sequence[InFlightRecord]) -> None:
        """Note that the broker has the outcomes of these; what was lost meanwhile is no longer counted."""
        owned = [item for item in items if not item.partition.is_lost]
        for item in owned:
            item.is_completed = True
            item.partition.load.remove(item.size_bytes, item.tokens)
        self._limits.remove(sum([item.size_bytes for item in owned]), sum([item.tokens for item in owned]), len(owned))

    def in_flight(self, partitions: Collection[Partition]) -> int:
        """Records in flight of some partitions."""
        return sum(len(owned.offsets.in_flight()) for owned in self._owned(partitions))

    def committable(self, partitions: Collection[Partition] | None = None) -> dict[Partition, int]:
        """Offsets that are ahead of what is committed, of all or of some partitions."""
        return {
            owned.id: offset
            for owned in self._owned(self._partitions if partitions is None else partitions)
            if (offset := owned.offsets.uncommitted) is not None
        }

    def committed(self) -> dict[Partition, int]:
        """Offsets as far as they are known to be committed."""
        known = self._partitions.values()
        return {owned.id: owned.offsets.committed for owned in known if owned.offsets.committed is not None}

    def stored(self, offsets: dict[Partition, int]) -> None:
        """Note that the coordinator has stored these offsets; those from before a partition began anew do not count."""
        for owned in self._owned(offsets):
            if offsets[owned.id] <= (owned.offsets.delivered_to or 0):
                owned.offsets.committed = offsets[owned.id]

    def _owned(self, partitions: Collection[Partition]) -> Iterator[AssignedPartition]:
        for partition in partitions:
            if partition in self._partitions:
                yield self._partitions[partition]
