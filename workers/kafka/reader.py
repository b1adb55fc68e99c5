"""Reads topics up to a fixed end, and a group's committed offsets, for commands; all of it bounded in time.

Never joins a group, never produces, and never creates a topic by asking for one.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, Self

from kafka import OffsetAndMetadata, TopicPartition

from schemas.errors import ModerationError, UnreadableRecordsError
from schemas.record import Partition, SourceRecord
from workers.kafka.connection import CONNECT_S, connection
from workers.kafka.decoding import read_leniently
from workers.kafka.unbounded_waits import TidyConsumer
from workers.kafka.unreadable_batch import in_their_places
from workers.settings.sections import KafkaSettings

STALL_S = 30.0
READS = 3  # of a batch, before it counts as one that nobody can read: a leader's disk may have been at fault
READ_AGAIN_S = 1.0
POLL_MS = 500
MAX_POLL_RECORDS = 2_000
FETCH_MAX_BYTES = 4 * 2**20  # a command may run beside a worker; more takes memory and is no faster
COMMIT_TIMEOUT_MS = 30_000
Advanced = Callable[[int], None]
Progress = Callable[[int, int], None]
Isolation = Literal["read_committed", "read_uncommitted"]


class OffsetRange(NamedTuple):
    """Offsets of one partition: from `start` up to, not including, `end`."""

    start: int
    end: int


class CommittedOffset(NamedTuple):
    """What a group has committed of a partition: the next offset, and a text beside it."""

    offset: int
    metadata: str


OffsetRanges = Mapping[Partition, OffsetRange]


class OffsetsRead:
    """Tells of offsets as they are read: how many so far, and how many there are.

    Args:
        progress: called with both.
        ranges: all that will be read, be it by several readers.
    """

    def __init__(self, progress: Progress, *ranges: OffsetRanges) -> None:
        self._progress = progress
        self._total = sum(map(offsets_in, ranges))
        self._done = 0

    def __call__(self, count: int) -> None:
        """Tell of further offsets that were read."""
        self._done += count
        self._progress(self._done, self._total)


def offsets_in(ranges: OffsetRanges) -> int:
    """How many offsets these are: as many records at most."""
    return sum(offsets.end - offsets.start for offsets in ranges.values())


class _Query:
    """A consumer that belongs to no group's members. Use as a context manager."""

    def __init__(self, settings: KafkaSettings, group: str | None, **options: Any) -> None:
        self._consumer = TidyConsumer(
            **connection(settings),
            group_id=group,
            enable_auto_commit=False,
            allow_auto_create_topics=False,
            bootstrap_timeout_ms=int(CONNECT_S * 1000),
            **options,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close(autocommit=False)


class TopicReader(_Query):
    """Reads topics up to the ends that they had when it was asked. Use as a context manager.

    Args:
        settings: where Kafka is.
        group: whose committed offsets `committed` tells.
        isolation: whether `read` gives records of transactions that are open or were aborted.

    Raises:
        KafkaError: from all methods; `kafka_faults` translates it.
    """

    def __init__(
        self, settings: KafkaSettings, group: str | None = None, isolation: Isolation = "read_uncommitted"
    ) -> None:
        super().__init__(
            settings,
            group,
            auto_offset_reset="earliest",
            fetch_max_bytes=min(settings.fetch_max_bytes, FETCH_MAX_BYTES),
            isolation_level=isolation,
        )
        self._isolation = isolation
        read_leniently(self._consumer, settings.max_request_bytes)

    def ranges(
        self, topics: Iterable[str], since_ms: int | None = None, until_ms: int | None = None
    ) -> dict[Partition, OffsetRange]:
        """The offsets that the topics hold now; with times, those between the first records of these times or later.

        Raises:
            ModerationError: a topic does not exist, or may not be seen.
        """
        partitions = [TopicPartition(topic, number) for topic in topics for number in self._partitions(topic)]
        starts = self._consumer.beginning_offsets(partitions)
        ends = self._consumer.end_offsets(partitions)
        if since_ms is not None:
            starts = self._at(since_ms, ends)
        if until_ms is not None:
            ends = self._at(until_ms, ends)
        return {Partition(*tp): OffsetRange(min(starts[tp], ends[tp]), ends[tp]) for tp in partitions}

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Committed offsets of the group, where it has any."""
        stored = {partition: self._consumer.committed(TopicPartition(*partition)) for partition in partitions}
        return {partition: offset for partition, offset in stored.items() if offset is not None}

    def first_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """First offsets still there."""
        found = self._consumer.beginning_offsets([TopicPartition(*partition) for partition in partitions])
        return {Partition(*tp): offset for tp, offset in found.items()}

    def read(
        self, ranges: OffsetRanges, advanced: Advanced = lambda _count: None, patience_s: float = STALL_S
    ) -> Iterator[SourceRecord]:
        """All records of some ranges; those of one partition in offset order.

        Args:
            ranges: what to read.
            advanced: called with the number of offsets passed since the last call; see `OffsetsRead`.
            patience_s: how long the broker may give nothing.

        Raises:
            ModerationError: the broker has given nothing for `patience_s`; or a batch can be neither read, in `READS`
                attempts, nor passed over, because its header is damaged as well.
        """
        ends = {TopicPartition(*partition): offsets.end for partition, offsets in ranges.items()}
        positions = {
            TopicPartition(*partition): offsets.start
            for partition, offsets in ranges.items()
            if offsets.start < offsets.end
        }
        self._consumer.assign(list(positions))
        self._consumer.resume(*positions)  # a read before this one has paused those that it finished
        for tp, start in positions.items():
            self._consumer.seek(tp, start)
        patience = time.monotonic() + patience_s
        failed: Counter[tuple[str, int, int]] = Counter()
        while positions:
            try:
                polled = self._consumer.poll(POLL_MS, max_records=MAX_POLL_RECORDS)
            except UnreadableRecordsError as error:
                polled = {}
                failed[error.topic, error.partition, error.offset] += 1
                if failed[error.topic, error.partition, error.offset] < READS:
                    time.sleep(READ_AGAIN_S)
                else:
                    yield from self._passed_over(error, ends)
            for tp, records in polled.items():
                for item in records:
                    if item.offset < ends[tp]:
                        yield SourceRecord(
                            tp.topic, tp.partition, item.offset, item.timestamp, item.key, item.value,
                            tuple(item.headers),
                        )  # fmt: skip
            # By position, not by record: the last offsets may hold transaction markers, or nothing any more.
            passed = {tp: min(self._consumer.position(tp), ends[tp]) for tp in positions}
            moved = sum(passed.values()) - sum(positions.values())
            positions = {tp: position for tp, position in passed.items() if position < ends[tp]}
            self._consumer.pause(*(passed.keys() - positions.keys()))
            if moved > 0:
                advanced(moved)
                patience = time.monotonic() + patience_s
            elif time.monotonic() > patience:
                stuck = ", ".join(f"{tp.topic}-{tp.partition} at {offset}" for tp, offset in positions.items())
                reason = "; a transaction may be open there" if self._isolation == "read_committed" else ""
                raise ModerationError(f"nothing could be read for {patience_s:.0f} s from {stuck}{reason}")

    def _passed_over(self, error: UnreadableRecordsError, ends: Mapping[Any, int]) -> Iterator[SourceRecord]:
        """Records in place of a batch that cannot be read, as a worker has them that has given it up."""
        partition = TopicPartition(error.topic, error.partition)
        if error.end is None:
            raise error
        yield from in_their_places(Partition(*partition), error.offset, min(error.end, ends[partition]), error.fault)
        self._consumer.seek(partition, error.end)

    def _at(self, moment_ms: int, ends: Mapping[Any, int]) -> dict[Any, int]:
        found = self._consumer.offsets_for_times(dict.fromkeys(ends, moment_ms))
        return {tp: end if found.get(tp) is None else found[tp].offset for tp, end in ends.items()}

    def _partitions(self, topic: str) -> list[int]:
        partitions = self._consumer.partitions_for_topic(topic)
        if not partitions:
            raise ModerationError(f"topic {topic}: does not exist, or this user may not see it (weir topics plan)")
        return sorted(partitions)


class GroupOffsets(_Query):
    """Reads and commits a group's offsets without joining it. Use as a context manager.

    Args:
        settings: where Kafka is.
        group: its name.

    Raises:
        KafkaError: from all methods; `kafka_faults` translates it.
    """

    def __init__(self, settings: KafkaSettings, group: str) -> None:
        super().__init__(settings, group)

    def committed(self, partition: Partition) -> CommittedOffset | None:
        """What the group has committed of a partition; None for nothing."""
        found = self._consumer.committed(TopicPartition(*partition), metadata=True)
        return None if found is None else CommittedOffset(found.offset, found.metadata)

    def commit(self, offsets: Mapping[Partition, CommittedOffset]) -> None:
        """Commit, and wait for the answer."""
        wanted = {TopicPartition(*partition): OffsetAndMetadata(*item, -1) for partition, item in offsets.items()}
        self._consumer.commit(wanted, timeout_ms=COMMIT_TIMEOUT_MS)


def committed_offsets(settings: KafkaSettings, partitions: Iterable[Partition]) -> dict[Partition, int]:
    """Committed offsets of the settings' group; waits for those that a transaction is about to store.

    Raises:
        KafkaError: the broker did not say.
    """
    with TopicReader(settings, settings.group_id, "read_committed") as reader:
        return reader.committed(partitions)
