"""Which dead letters a redrive is to put back and where to, and what earlier ones have already seen to.

The memory of earlier ones is the metadata that stands beside the redrive group's committed offset: for each selection,
how far it got and what it had to leave. So two runs with other filters neither hide letters from each other nor put one
back twice, and what had to be left is looked at again.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from schemas.errors import ModerationError
from schemas.reasons import Reason, Stage
from workers.tools.dead_letters.dead_letters import Filters
from workers.tools.dead_letters.redrive.left import LeftOffsets, from_numbers
from workers.tools.dead_letters.redrive.letters import RedriveLetter

MAX_METADATA = 4_000  # the broker's offset.metadata.max.bytes is 4096 by default
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Selection:
    """Letters to put back, and the topic they go to: that of their source where `to` is None."""

    filters: Filters = field(default_factory=Filters)
    to: str | None = None

    def destination(self, letter: RedriveLetter) -> str | None:
        """Where a letter is to go; None where it says nothing of its source, and so may be anything."""
        return None if letter.original is None else self.to or letter.original.topic

    def passes(self, letter: RedriveLetter) -> bool:
        """Whether a letter is asked for."""
        return letter.passes(self.filters)

    def covers(self, other: "Selection") -> bool:
        """Whether all that the other asks for is asked for here, with the same destination."""
        mine, its = self.filters, other.filters
        since, until = mine.since_ms, mine.until_ms
        return (
            self.to == other.to
            and mine.reason in (None, its.reason)
            and mine.stage in (None, its.stage)
            and mine.tenant in (None, its.tenant)
            and mine.model_revision in (None, its.model_revision)
            and (since is None or (its.since_ms is not None and since <= its.since_ms))
            and (until is None or (its.until_ms is not None and until >= its.until_ms))
        )


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
