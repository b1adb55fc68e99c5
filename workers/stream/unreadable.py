"""Partitions whose next records cannot be read: each is held and tried again, while all others go on.

`workers.stream.loop` pauses them.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple

from schemas.errors import UnreadableRecordsError
from schemas.record import Partition
from workers.kafka.consumer import Consumer
from workers.telemetry.log import log_event

log = logging.getLogger(__name__)
READ_AGAIN_S = 5.0


class _Held(NamedTuple):
    """Nothing can be read from `offset` on; `since` is when that was first seen of this offset."""

    offset: int
    since: float
    again_at: float
    reason: str


class UnreadablePartitions:
    """Those of one worker.

    Args:
        clock: seconds, monotonic.

    Attributes:
        held: why and since when, by partition.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.held: dict[Partition, _Held] = {}

    def hold(self, error: UnreadableRecordsError) -> None:
        """Note a partition that a poll could not read."""
        partition, now = Partition(error.topic, error.partition), self._clock()
        known = self.held.get(partition)
        since = known.since if known is not None and known.offset == error.offset else now
        self.held[partition] = _Held(error.offset, since, now + READ_AGAIN_S, str(error))
        log.error(
            log_event(
                "records_unreadable",
                topic=error.topic,
                partition=error.partition,
                offset=error.offset,
                error=error.fault,
            )
        )

    def waiting(self, consumer: Consumer) -> set[Partition]:
        """Partitions that are not to be tried again yet; forgets those that went on or to another member."""
        assigned = consumer.assignment()
        for partition, held in list(self.held.items()):
            position = consumer.position(partition)
            if partition not in assigned or (position is not None and position != held.offset):
                del self.held[partition]
        return {partition for partition, held in self.held.items() if self._clock() < held.again_at}

    def stuck_reason(self, timeout_s: float) -> str | None:
        """What could not be read for so long, or None; from any thread."""
        for held in list(self.held.values()):
            if self._clock() - held.since > timeout_s:
                return held.reason
        return None
