"""What is in flight: the offsets of a partition, the order in which its outcomes may leave, and bounds on all of it.

The words, here and everywhere else:

* in flight: delivered by the broker, not completed.
* completed: its outcome was acknowledged by the broker.
* committable: the next offset to read when everything before it is completed.
* committed: what the group coordinator has stored.

Offsets have gaps (compaction, transaction markers), so only delivered ones are tracked.
Knows nothing of Kafka clients or of what an outcome is; says when to pause, and pauses nothing itself.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from schemas.record import SourceRecord


class Tracked(Protocol):
    """What is tracked of one delivered record. Whoever decides and acknowledges it sets the two flags."""

    @property
    def offset(self) -> int: ...

    @property
    def is_decided(self) -> bool: ...

    @property
    def is_completed(self) -> bool: ...


T = TypeVar("T", bound=Tracked)


class PartitionOffsets(Generic[T]):
    """Tracks one partition from delivery to commit."""

    def __init__(self) -> None:
        self._unreleased: deque[T] = deque()
        self._in_flight: deque[T] = deque()
        self._delivered_to: int | None = None
        self.committed: int | None = None

    def deliver(self, item: T) -> None:
        """Take a record in.

        Raises:
            ValueError: its offset is not above the last one delivered.
        """
        if self._delivered_to is not None and item.offset < self._delivered_to:
            raise ValueError(f"offset {item.offset} delivered after {self._delivered_to - 1}")
        if self.committed is None:
            self.committed = item.offset  # where the group stood, so there is nothing to commit yet
        self._delivered_to = item.offset + 1
        self._unreleased.append(item)
        self._in_flight.append(item)

    @property
    def delivered_to(self) -> int | None:
        """The offset after the last one delivered; None before the first delivery."""
        return self._delivered_to

    def release(self) -> Iterator[T]:
        """Yield decided records in offset order, each once, up to the first undecided one (P8)."""
        while self._unreleased and self._unreleased[0].is_decided:
            yield self._unreleased.popleft()

    @property
    def committable(self) -> int | None:
        """Next offset to read when everything before it is completed; None before the first delivery (P2)."""
        while self._in_flight and self._in_flight[0].is_completed:
            self._in_flight.popleft()
        return self._in_flight[0].offset if self._in_flight else self._delivered_to

    @property
    def uncommitted(self) -> int | None:
        """The committable offset where it is ahead of the committed one, else None."""
        committable = self.committable
        if committable is None or (self.committed is not None and committable <= self.committed):
            return None
        return committable

    @property
    def exposed(self) -> int:
        """Offsets from the committed to the last delivered one: what would come again. May be asked from any thread."""
        delivered_to, committed = self._delivered_to, self.committed
        return 0 if delivered_to is None or committed is None else max(0, delivered_to - committed)

    def in_flight(self) -> list[T]:
        """Records delivered and not completed, in offset order."""
        return [item for item in self._in_flight if not item.is_completed]


@dataclass(slots=True)
class Load:
    """An amount of work: records, bytes in memory, estimated tokens."""

    records: int = 0
    bytes: int = 0
    tokens: int = 0

    def add(self, bytes_: int, tokens: int, records: int = 1) -> None:
        """Count records in, with the bytes and tokens of them all."""
        self.records += records
        self.bytes += bytes_
        self.tokens += tokens

    def remove(self, bytes_: int, tokens: int, records: int = 1) -> None:
        """Count records out."""
        self.add(-bytes_, -tokens, -records)


LIMIT = Load(records=4_096, bytes=64 * 2**20, tokens=1_048_576)  # the default


MOST_HEADERS = 1_024  # of a record that is judged
_RECORD_BYTES = 1_024  # of what is kept for each record, measured with tracemalloc
_HEADER_BYTES = 160  # a tuple, a string and bytes, without what is in them


def bytes_of(record: SourceRecord) -> int:
    """Bytes that a record takes in memory: its key, value and headers, and the objects that hold them."""
    size = _RECORD_BYTES + len(record.key or b"") + len(record.value or b"")
    for name, value in record.headers:
        size += _HEADER_BYTES + len(name) + len(value or b"")
    return size


class InFlightLimits(Load):
    """What is in flight of all partitions, and its bounds, which leave each its share (P9).

    A partition is held while it has more in flight, by any figure, than is left for all. So one that stands still takes
    half at most, two a third each, and the others go on in what is left.

    Args:
        limit: of all partitions together; one poll may exceed it.
        resume_ratio: one that is held goes on when it has at most this share of what is left.
    """

    def __init__(self, limit: Load, resume_ratio: float) -> None:
        super().__init__()
        self._limit = limit
        self._resume_ratio = resume_ratio
        self.taken = 0  # records ever counted in

    def holds(self, own: Load, *, is_held: bool) -> bool:
        """Whether a partition with so much in flight is to be held, where it is held already or is not."""
        limit, share = self._limit, self._resume_ratio if is_held else 1.0
        return own.records > 0 and (
            own.records > share * (limit.records - self.records)
            or own.bytes > share * (limit.bytes - self.bytes)
            or own.tokens > share * (limit.tokens - self.tokens)
        )

    @property
    def room(self) -> int:
        """Records that one poll may take in: half of what is left, for they may be one partition's."""
        return max(1, (self._limit.records - self.records) // 2)

    @property
    def room_bytes(self) -> int:
        """Bytes that one poll may take in."""
        return max(1, (self._limit.bytes - self.bytes) // 2)
