"""Offsets of letters that had to be left: ranges in order that do not touch, and few enough to be remembered.

Knows nothing of Kafka or of why a letter was left.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_RANGES = 40


@dataclass(frozen=True, slots=True)
class LeftOffsets:
    """Offsets of one partition as ranges `(first, end)`, the end not included."""

    ranges: tuple[tuple[int, int], ...] = ()

    def __contains__(self, offset: int) -> bool:
        return any(first <= offset < end for first, end in self.ranges)

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def since(self, offset: int) -> "LeftOffsets":
        """Without those before an offset."""
        return LeftOffsets(tuple((max(first, offset), end) for first, end in self.ranges if end > offset))

    def before(self, offset: int) -> "LeftOffsets":
        """Without those at or behind an offset."""
        return LeftOffsets(tuple((first, min(end, offset)) for first, end in self.ranges if first < offset))

    def plus(self, offsets: Iterable[int]) -> "LeftOffsets":
        """With some more; where that makes too many ranges, without the last ones."""
        return self.plus_ranges(LeftOffsets(tuple((offset, offset + 1) for offset in offsets)))

    def plus_ranges(self, other: "LeftOffsets") -> "LeftOffsets":
        """With those of another; where that makes too many ranges, without the last ones."""
        merged: list[tuple[int, int]] = []
        for first, end in sorted([*self.ranges, *other.ranges]):
            if merged and first <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(end, merged[-1][1])
            else:
                merged.append((first, end))
        return LeftOffsets(tuple(merged[:MAX_RANGES]))

    def to_numbers(self) -> list[int]:
        """First offset and length of each range, one after another."""
        return [number for first, end in self.ranges for number in (first, end - first)]


def from_numbers(numbers: Sequence[int]) -> LeftOffsets:
    """What `to_numbers` has made.

    Raises:
        ValueError: it has not.
    """
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    if not all(isinstance(number, int) for number in numbers):
        raise ValueError("not numbers")
    return LeftOffsets(tuple((first, first + size) for first, size in pairs))
