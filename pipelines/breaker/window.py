"""Counts of the last records: how many became dead letters, as a share and in a row; and verdicts by label.

Counts whole batches, so a thousand records cost what one costs. Decides nothing.
"""

from collections import Counter, deque
from collections.abc import Mapping
from typing import NamedTuple

from schemas.reasons import Reason
from schemas.verdict import Severity

_SLICES = 32
_VERDICT_SLICES = 16
LABELS = tuple(Severity)


class _Slice:
    """What came in a stretch of time."""

    __slots__ = ("letters", "records", "started_s")

    def __init__(self, started_s: float) -> None:
        self.started_s = started_s
        self.records = 0
        self.letters: Counter[Reason] = Counter()


class Limits(NamedTuple):
    """For one kind of dead letter: the share, once there are enough records, and how many in a row."""

    ratio: float
    min_records: int
    consecutive: int


class DeadLetterWindow:
    """The last records, forgotten a slice at a time, so it may be one part in 32 longer or shorter than asked.

    Args:
        window_records: records to look at.
        window_s: seconds to look back at most.

    Attributes:
        records: records in the window.
        letters: dead letters among them, by reason.
        dead: number of those.
        run: dead letters since a batch last held a record that is none; any length, any age.
        run_letters: those by reason.
    """

    def __init__(self, window_records: int, window_s: float) -> None:
        self._window_records = window_records
        self._window_s = window_s
        self._slices: deque[_Slice] = deque()
        self.records = 0
        self.dead = 0
        self.letters: Counter[Reason] = Counter()
        self.run = 0
        self.run_letters: Counter[Reason] = Counter()

    def add(self, now_s: float, passed: int, letters: Mapping[Reason, int]) -> None:
        """Take a batch in: records that passed, and dead letters by reason. The order within a batch is not known,
        so one record that passed ends the run for all of it.
        """
        newest = self._slices[-1] if self._slices else None
        if (
            newest is None
            or newest.records * _SLICES >= self._window_records
            or (now_s - newest.started_s) * _SLICES >= self._window_s
        ):
            newest = _Slice(now_s)
            self._slices.append(newest)
        dead = sum(letters.values())
        newest.records += passed + dead
        self.records += passed + dead
        if passed and self.run:
            self.run = 0
            self.run_letters.clear()
        if dead:
            self.dead += dead
            newest.letters.update(letters)
            self.letters.update(letters)
            if not passed:
                self.run += dead
                self.run_letters.update(letters)
        self._forget(now_s)

    def _forget(self, now_s: float) -> None:
        while (
            now_s - self._slices[0].started_s > self._window_s
            or self.records - self._slices[0].records >= self._window_records
        ):
            old = self._slices.popleft()
            self.records -= old.records
            self.dead -= old.letters.total()
            self.letters -= old.letters


class VerdictSlice:
    """Verdicts of a stretch of time, by label."""

    __slots__ = ("counts", "records", "started_s")

    def __init__(self, started_s: float) -> None:
        self.started_s = started_s
        self.counts = [0] * len(LABELS)
        self.records = 0


class VerdictSlices:
    """Gathers verdicts into slices, of which sixteen make a window.

    Args:
        window_records: a window has at least so many verdicts,
        window_s: of at least so many seconds.

    Attributes:
        open: the slice that is not full yet; None before its first verdict.
    """

    def __init__(self, window_records: int, window_s: float) -> None:
        self._window_records = window_records
        self._window_s = window_s
        self.open: VerdictSlice | None = None

    def add(self, now_s: float, severities: Mapping[Severity, int]) -> VerdictSlice | None:
        """Take verdicts in; returns the slice that is full with them, or None."""
        newest = self.open = self.open or VerdictSlice(now_s)
        for index, label in enumerate(LABELS):
            if count := severities.get(label, 0):
                newest.counts[index] += count
                newest.records += count
        if (
            newest.records * _VERDICT_SLICES < self._window_records
            or (now_s - newest.started_s) * _VERDICT_SLICES < self._window_s
        ):
            return None
        self.open = None
        return newest
