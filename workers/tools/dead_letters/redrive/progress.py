"""Keeps how far redrives have got, and what they had to leave, as the committed offsets of a group of their own.

The metadata beside each offset says, for each selection, how far it got and what it left. So two runs with different
filters neither hide letters from each other nor put one back twice, and what was left is looked at again.
Never joins the group: two redrives at once would do the work twice instead of sharing it. So each commit first looks
whether another redrive has moved the offsets, and stops if so.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

from schemas.errors import ModerationError
from schemas.reasons import Reason, Stage
from schemas.record import Partition, SourceRecord
from workers.kafka.reader import CommittedOffset, GroupOffsets, OffsetRanges
from workers.settings.sections import KafkaSettings
from workers.tools.dead_letters.dead_letters import Filters
from workers.tools.dead_letters.redrive.letters import RedriveLetter, Selection

MAX_RANGES = 40
MAX_METADATA = 4_000  # the broker's offset.metadata.max.bytes is 4096 by default
_VERSION = 1


@dataclass(frozen=True, slots=True)
class LeftOffsets:
    """Offsets of one partition whose letters had to be left: ranges `(first, end)`, the end not included.

    They are in order, do not touch, and are few enough to be remembered.
    """

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


@dataclass(frozen=True, slots=True)
class Passed:
    """A selection has been seen to in one partition up to, not including, an offset, but for the letters left."""

    selection: Selection
    upto: int
    left: LeftOffsets = field(default_factory=LeftOffsets)

    @property
    def seen_to(self) -> int:
        """The first offset that may still hold a letter of the selection."""
        return min([self.upto, *(first for first, _ in self.left.ranges)])

    def saw_to(self, letter: RedriveLetter, selection: Selection) -> bool:
        """Whether it has put a letter where the selection would put it now."""
        offset = letter.record.offset
        return (
            offset < self.upto
            and offset not in self.left
            and self.selection.destination(letter) == selection.destination(letter)
            and self.selection.passes(letter)
        )


def advanced(passed: Iterable[Passed], selection: Selection, upto: int, left: LeftOffsets, first: int) -> list[Passed]:
    """What there is to remember once a selection has been seen to up to an offset.

    Args:
        passed: what was remembered when the run began.
        selection: what it sees to.
        upto: how far it has got.
        left: what it had to leave on the way; nothing that one of `passed` has put back.
        first: first offset that the partition still holds.
    """
    still_left = LeftOffsets()
    others = []
    reached = upto
    for item in passed:
        if item.selection == selection:  # a run begins again at what was left, and may stop before it is through
            still_left, reached = item.left.since(max(upto, first)), max(upto, item.upto)
        elif item.upto > first:
            others.append(item)
    mine = Passed(selection, reached, left.plus_ranges(still_left))
    said_by_mine = [
        item
        for item in others
        if selection.covers(item.selection) and reached >= item.upto and not still_left.before(item.upto)
    ]
    return [*(item for item in others if item not in said_by_mine), mine]


def start_of(passed: Iterable[Passed], selection: Selection, first: int) -> int:
    """The first offset that a selection has to look at."""
    return max([first, *(item.seen_to for item in passed if item.selection.covers(selection))])


def to_metadata(passed: Sequence[Passed]) -> str:
    """What is remembered as offset metadata, ASCII.

    Raises:
        ModerationError: it does not fit any more.
    """
    entries = [{"upto": item.upto, "left": item.left.to_numbers(), **_entry(item.selection)} for item in passed]
    text = json.dumps({"weir_redrive": _VERSION, "passed": entries}, separators=(",", ":"))
    if len(text) > MAX_METADATA:
        raise ModerationError(
            f"redrives with {len(passed)} selections are remembered, and there is no room for another: redrive"
            " without filters, or give --group"
        )
    return text


def from_metadata(offset: int, metadata: str) -> list[Passed]:
    """What was remembered; of an offset that another tool has set, that everything before it was seen to.

    Raises:
        ModerationError: it was written by another version of Weir.
    """
    try:
        found = json.loads(metadata)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or "weir_redrive" not in found:
        return [Passed(Selection(), offset)]
    try:
        if found["weir_redrive"] == _VERSION:
            return [_passed(entry) for entry in found["passed"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise ModerationError("its offsets were written by another version of `weir dlq redrive`; give another --group")


def _entry(selection: Selection) -> dict[str, Any]:
    values = {"to": selection.to} | {field.name: getattr(selection.filters, field.name) for field in fields(Filters)}
    return {name: value for name, value in values.items() if value is not None}


def _passed(entry: dict[str, Any]) -> Passed:
    found = dict(entry)
    upto, to, left = found.pop("upto"), found.pop("to", None), from_numbers(found.pop("left"))
    kinds = (("reason", Reason), ("stage", Stage))
    filters = Filters(**found | {name: kind(found[name]) for name, kind in kinds if name in found})
    if not isinstance(upto, int):
        raise TypeError
    return Passed(Selection(filters, to), upto, left)


def from_numbers(numbers: Sequence[int]) -> LeftOffsets:
    """What `to_numbers` has made.

    Raises:
        ValueError: it has not.
    """
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    if not all(isinstance(number, int) for number in numbers):
        raise ValueError("not numbers")
    return LeftOffsets(tuple((first, first + size) for first, size in pairs))


class RedriveProgress:
    """Offsets of a redrive's group. Use as a context manager.

    Args:
        settings: where Kafka is.
        group: the redrive's group.
        selection: what is put back.
        held: what the dead-letter topic holds.
        from_start: forget what earlier redrives have seen to.

    `not_remembered` counts letters that were left and that the next run will not look at again: there are too many.

    Raises:
        KafkaError: from all methods; `kafka_faults` translates it.
    """

    def __init__(
        self, settings: KafkaSettings, group: str, selection: Selection, held: OffsetRanges, *, from_start: bool = False
    ) -> None:
        self._offsets = GroupOffsets(settings, group)
        self._group = group
        self._selection = selection
        self._held = held
        self._passed: dict[Partition, list[Passed]] = {}
        self._stored: dict[Partition, CommittedOffset | None] = {}
        self._left = dict.fromkeys(held, LeftOffsets())
        self.not_remembered = 0
        try:
            for partition, offsets in held.items():
                self._stored[partition] = stored = self._offsets.committed(partition)
                known = [] if stored is None or from_start else self._read(stored)
                # Offsets beyond the end are of a topic of this name that is no more.
                self._passed[partition] = [item for item in known if item.upto <= offsets.end]
        except BaseException:
            self._offsets.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._offsets.close()

    def start(self, partition: Partition) -> int:
        """The first offset to look at."""
        return start_of(self._passed[partition], self._selection, self._held[partition].start)

    def is_seen_to(self, letter: RedriveLetter) -> bool:
        """Whether an earlier redrive has put a letter where this one would."""
        passed = self._passed[letter.record.topic_partition]
        return any(item.saw_to(letter, self._selection) for item in passed)

    def commit(self, positions: Mapping[Partition, int], left: Iterable[SourceRecord] = ()) -> None:
        """Commit that everything before these offsets has been seen to, but for what was left in this run.

        Args:
            positions: how far.
            left: letters that were left since the last commit.

        Raises:
            ModerationError: another redrive has moved the offsets.
        """
        for record in left:
            partition = record.topic_partition
            self._left[partition] = self._left[partition].plus([record.offset])
            self.not_remembered += record.offset not in self._left[partition]
        offsets: dict[Partition, CommittedOffset] = {}
        for partition, upto in positions.items():
            if self._offsets.committed(partition) != self._stored[partition]:
                raise ModerationError(f"group {self._group}: another redrive is moving its offsets; one at a time")
            first = self._held[partition].start
            passed = advanced(self._passed[partition], self._selection, upto, self._left[partition], first)
            offsets[partition] = CommittedOffset(max(item.upto for item in passed), to_metadata(passed))
        if offsets:
            self._offsets.commit(offsets)
            self._stored |= offsets

    def _read(self, stored: CommittedOffset) -> list[Passed]:
        try:
            return from_metadata(stored.offset, stored.metadata)
        except ModerationError as error:
            raise ModerationError(f"group {self._group}: {error}") from None
