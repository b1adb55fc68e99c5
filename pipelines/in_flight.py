"""Bounds on what is in flight, in records, bytes and tokens, with hysteresis (P9).

Says when to pause and when to resume; pauses nothing itself.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """An amount of work: records, bytes in memory, estimated tokens."""

    records: int
    bytes: int
    tokens: int


LIMIT = Load(records=4_096, bytes=64 * 2**20, tokens=1_048_576)  # the default


class InFlightLimits:
    """Says when to stop taking records in, and when to go on.

    Args:
        limit: pause when any figure reaches this.
        resume_ratio: go on when all figures are at or below this share of the limit.
    """

    def __init__(self, limit: Load, resume_ratio: float) -> None:
        self._limit = limit
        self._resume_at = Load(
            int(limit.records * resume_ratio), int(limit.bytes * resume_ratio), int(limit.tokens * resume_ratio)
        )
        self.records = 0
        self.bytes = 0
        self.tokens = 0
        self.taken = 0  # records ever counted in
        self.is_full = False

    def add(self, bytes_: int, tokens: int, records: int = 1) -> None:
        """Count records in, with the bytes and tokens of them all."""
        self.records += records
        self.taken += records
        self.bytes += bytes_
        self.tokens += tokens
        if self.records >= self._limit.records or self.bytes >= self._limit.bytes or self.tokens >= self._limit.tokens:
            self.is_full = True

    def remove(self, bytes_: int, tokens: int, records: int = 1) -> None:
        """Count records out, with the bytes and tokens of them all."""
        self.records -= records
        self.bytes -= bytes_
        self.tokens -= tokens
        if (
            self.records <= self._resume_at.records
            and self.bytes <= self._resume_at.bytes
            and self.tokens <= self._resume_at.tokens
        ):
            self.is_full = False

    @property
    def room(self) -> int:
        """Records that may still be taken in."""
        return 0 if self.is_full else self._limit.records - self.records
