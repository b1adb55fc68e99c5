"""A batch that cannot be read: where it ends, and records in its records' places, without their bytes."""

from collections.abc import Iterator
from typing import Any

from schemas.cut_value import CutValue
from schemas.errors import UnreadableRecordsError
from schemas.reasons import Reason
from schemas.record import Partition, SourceRecord

MOST_RECORDS = 2**20  # of a batch whose header is believed
_NO_TIMESTAMP = -1


def unreadable(partition: tuple[str, int], offset: int, error: Exception, batch: Any) -> UnreadableRecordsError:
    """The error of a batch, None if not even its header could be read, at which reading ended with another."""
    end: int | None = None
    # A header that is damaged itself does not count as many records as it has offsets. A compacted one does not either.
    if batch is not None and getattr(batch, "records_count", -1) == batch.next_offset - batch.base_offset:
        end = batch.next_offset if offset < batch.next_offset <= offset + MOST_RECORDS else None
    return UnreadableRecordsError(*partition, offset, type(error).__name__, end)


def in_their_places(partition: Partition, start: int, end: int, fault: str) -> Iterator[SourceRecord]:
    """Records that become dead letters, one for each offset from `start` to before `end`."""
    for offset in range(start, end):
        value = CutValue(f"batch: {fault}", Reason.UNREADABLE_BATCH)
        yield SourceRecord(partition.topic, partition.number, offset, _NO_TIMESTAMP, None, value, ())
