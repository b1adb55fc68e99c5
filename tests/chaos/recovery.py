"""How long nothing was published after a death, or at all, by the times that the records of the output topics bear.

Producers of outcomes stamp them when they send them, by the clock of this machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from schemas.record import SourceRecord
from tests.chaos.oracle import read_verdict


def recovered_s(verdicts: Iterable[SourceRecord], died_at: float) -> dict[int, float]:
    """For each input partition the seconds from a death to the next verdict about a record of it.

    Args:
        verdicts: records of the verdict topic.
        died_at: seconds since the epoch.
    """
    first: dict[int, float] = {}
    for record in verdicts:
        after_s = record.timestamp_ms / 1000 - died_at
        partition = read_verdict(record).source[0]
        if after_s >= 0:
            first[partition] = min(after_s, first.get(partition, after_s))
    return first


def standing_s(verdicts: Iterable[SourceRecord], partitions: int, since: float, until: float) -> dict[int, float]:
    """For each input partition the longest time without a verdict between two times, in seconds."""
    times = {partition: [since, until] for partition in range(partitions)}
    for record in verdicts:
        if since < record.timestamp_ms / 1000 < until:
            times[read_verdict(record).source[0]].append(record.timestamp_ms / 1000)
    return {
        partition: round(max(later - earlier for earlier, later in pairwise(sorted(found))), 1)
        for partition, found in times.items()
    }
