"""Partitions whose next records cannot be read: each is held and tried again, while all others go on.

A batch that stays unreadable is given up after a while, or when a person says so: its records become dead letters
without their bytes, and its partition goes on behind it. `workers.stream.loop` pauses the partitions.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from schemas.errors import UnreadableRecordsError
from schemas.record import Partition, SourceRecord
from workers.kafka.consumer import Consumer
from workers.kafka.unreadable_batch import in_their_places
from workers.telemetry.log import log_event

log = logging.getLogger(__name__)
READ_AGAIN_S = 5.0


@dataclass(eq=False, slots=True)
class _Held:
    """Nothing can be read from `offset` on, up to `end` if that is known, since it was first seen of this offset."""

    offset: int
    end: int | None
    fault: str
    since: float
    again_at: float
    given_up: int | None = None  # the next offset to be given up, once that has begun


class UnreadablePartitions:
    """Those of one worker.

    Args:
        clock: seconds, monotonic.
        after_s: how long a batch is tried before it is given up; None: until a person says so.

    Attributes:
        held: why and since when, by partition.
    """

    def __init__(self, clock: Callable[[], float], after_s: float | None = None) -> None:
        self._clock = clock
        self._after_s = float("inf") if after_s is None else after_s
        self.held: dict[Partition, _Held] = {}

    def hold(self, error: UnreadableRecordsError) -> None:
        """Note a partition that a poll could not read."""
        partition, now = Partition(error.topic, error.partition), self._clock()
        known = self.held.get(partition)
        if known is None or known.offset != error.offset:
            known = self.held[partition] = _Held(error.offset, error.end, error.fault, now, now)
        if known.given_up is None:
            known.end, known.fault = error.end, error.fault
        known.again_at = now + READ_AGAIN_S
        log.error(log_event("records_unreadable", **_fields(partition, error.offset, error.end, error.fault)))

    def waiting(self, consumer: Consumer) -> set[Partition]:
        """Partitions that are not to be tried again yet; forgets those that went on or to another member."""
        assigned = consumer.assignment()
        for partition, held in list(self.held.items()):
            position = consumer.position(partition)
            if partition not in assigned or (position is not None and position != held.offset):
                del self.held[partition]
        return {partition for partition, held in self.held.items() if self._clock() < held.again_at}

    def give_up(self, partition: Partition) -> tuple[int, int] | None:
        """Give the batch up that a partition waits for; from any thread.

        Returns:
            Its first offset and the one behind it; None where the partition waits for none whose end is known.
        """
        held = self.held.get(partition)
        if held is None or held.end is None:
            return None
        if held.given_up is None:
            held.given_up = held.offset
        return held.offset, held.end

    def given_up(self, consumer: Consumer, most: int) -> list[SourceRecord]:
        """The next records in place of those that are given up, of one partition, which goes on behind the last."""
        now = self._clock()
        for partition, held in list(self.held.items()):
            if held.given_up is None and now - held.since >= self._after_s:
                self.give_up(partition)
            if held.given_up is None or held.end is None:
                continue
            if held.given_up == held.offset:
                log.error(log_event("records_given_up", **_fields(partition, held.offset, held.end, held.fault)))
            held.again_at = float("inf")
            records = list(islice(in_their_places(partition, held.given_up, held.end, held.fault), most))
            held.given_up += len(records)
            if held.given_up == held.end:
                consumer.seek(partition, held.end)
                del self.held[partition]
            return records
        return []


def _fields(partition: Partition, offset: int, end: int | None, fault: str) -> dict[str, object]:
    return {"topic": partition.topic, "partition": partition.number, "offset": offset, "end": end, "error": fault}
