"""Compares two runs event by event: a join on disk, one part at a time, in memory that does not grow with them.

`before` is the run that is compared with, `after` the run that the report is about. Does not know which one is right.
"""

import tempfile
from collections.abc import Iterable
from heapq import nsmallest
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.evaluation.agreement import cohen_kappa, observed_agreement, wilson_interval
from workers.audit.report.counts import MOST_GROUPS, mask_of
from workers.audit.report.model import AuditComparison, CategoryShift, Flip, RunFacts, Shift
from workers.audit.report.spool import CATEGORIES, ORDER, named_in, parts_for, read_part, spool

_UNSAFE = len(ORDER) - 1
_KEY = ["event_id", "ordinal"]
_SUMS = ("pairs", "unsafe_before", "unsafe_after", "stricter", "milder")


class _Pairs(NamedTuple):
    """Rows of both runs that belong together: rows at equal indices are one event."""

    before: Any
    after: Any


class _Differences:
    """What is counted of the pairs."""

    def __init__(self, listed: int) -> None:
        self._listed = listed
        self.pairs = self.changed_text = self.changed_categories = self.changed_action = 0
        self.matrix = np.zeros((len(ORDER), len(ORDER)), np.int64)
        self.categories = np.zeros((len(CATEGORIES), 3), np.int64)
        self.groups: dict[str, dict[Any, Any]] = {"tenant": {}, "language": {}}
        self.cut = False
        self.flips: list[tuple[tuple[int, int, str], Flip]] = []

    def add(self, pairs: _Pairs) -> None:
        """Count a part."""
        self.pairs += len(pairs.after)
        same = mask_of(pc.equal(pairs.before["text_sha256"], pairs.after["text_sha256"]))
        self.changed_text += int((~same).sum())
        pairs = _Pairs(pairs.before.filter(pa.array(same)), pairs.after.filter(pa.array(same)))
        first, second = (_numbers(rows["severity"]) for rows in pairs)
        np.add.at(self.matrix, (first, second), 1)
        bits_before, bits_after = (_numbers(rows["categories"]) for rows in pairs)
        self.changed_categories += int((bits_before != bits_after).sum())
        self.changed_action += int((~mask_of(pc.equal(pairs.before["action"], pairs.after["action"]))).sum())
        for index in range(len(CATEGORIES)):
            had, has = bits_before >> index & 1, bits_after >> index & 1
            self.categories[index] += (had.sum(), has.sum(), (had & has).sum())
        self._add_groups(pairs, first, second)
        self._add_flips(pairs, first, second)

    def _add_groups(self, pairs: _Pairs, first: Any, second: Any) -> None:
        columns = (np.ones_like(first), first == _UNSAFE, second == _UNSAFE, second > first, second < first)
        for name, groups in self.groups.items():
            table = pa.table({name: pairs.after[name], **dict(zip(_SUMS, map(_whole, columns), strict=True))})
            summed = table.group_by(name, use_threads=False).aggregate([(column, "sum") for column in _SUMS])
            for row in summed.to_pylist():
                if row[name] not in groups and len(groups) >= MOST_GROUPS:
                    self.cut = True
                    continue
                held = groups.setdefault(row[name], np.zeros(len(_SUMS), np.int64))
                held += [row[f"{column}_sum"] for column in _SUMS]

    def _add_flips(self, pairs: _Pairs, first: Any, second: Any) -> None:
        distance = np.abs(second - first)
        changed = np.flatnonzero(distance)
        # The widest changes of each part suffice to find the widest of all; ties go by the id's checksum.
        widest = changed[distance[changed] == distance[changed].max()] if len(changed) else changed
        if len(widest) < self._listed:
            widest = changed
        ids = pairs.after["event_id"].combine_chunks().take(pa.array(widest)).to_pylist()
        keys = [(-int(distance[index]), crc32(name.encode()), name) for index, name in zip(widest, ids, strict=True)]
        chosen = nsmallest(self._listed, range(len(keys)), key=keys.__getitem__)
        indices = pa.array(widest[chosen])
        rows = (side.take(indices).to_pylist() for side in pairs)
        flips = [_flip(before, after) for before, after in zip(*rows, strict=True)]
        self.flips += zip([keys[index] for index in chosen], flips, strict=True)
        self.flips = nsmallest(self._listed, self.flips, key=lambda flip: flip[0])

    def shifts(self, name: str) -> list[Shift]:
        """The groups with the most changes of severity."""
        held = [
            Shift(name=key, **dict(zip(_SUMS, sums.tolist(), strict=True))) for key, sums in self.groups[name].items()
        ]
        held.sort(key=lambda shift: (-shift.stricter - shift.milder, -shift.pairs, str(shift.name)))
        return held[: self._listed]

    def category_shifts(self) -> list[CategoryShift]:
        """All categories that either run named, those with the most changes first."""
        counted = zip(CATEGORIES, self.categories.tolist(), strict=True)
        shifts = [CategoryShift(name=name, before=had, after=has, both=both) for name, (had, has, both) in counted]
        shifts.sort(key=lambda shift: -(shift.before + shift.after - 2 * shift.both))
        return [shift for shift in shifts if shift.before or shift.after]


def compare_runs(
    before: Iterable[Any], after: Iterable[Any], rows: int, against: RunFacts, dead_letters: int, listed: int
) -> AuditComparison:
    """Join two runs by event id and count where they differ.

    Args:
        before: batches of the one run, with the columns `report_spool.SPOOLED`.
        after: batches of the other.
        rows: about how many both have together; only the size of the parts depends on it.
        against: which run `before` is.
        dead_letters: how many that run has.
        listed: most flips, tenants and languages.
    """
    differences = _Differences(listed)
    parts = parts_for(rows)
    with tempfile.TemporaryDirectory(prefix="weir-audit-report-") as name:
        there, here = Path(name, "before"), Path(name, "after")
        rows_there, rows_here = spool(before, there, parts), spool(after, here, parts)
        for part in range(parts):
            tables = read_part(there, part), read_part(here, part)
            if tables[0] is not None and tables[1] is not None:
                differences.add(_joined(*tables))
    matrix = differences.matrix.tolist()
    compared = int(differences.matrix.sum())
    same = int(differences.matrix.trace())
    low, high = wilson_interval(same, compared)
    return AuditComparison(
        against=against,
        against_verdicts=rows_there,
        against_dead_letters=dead_letters,
        pairs=differences.pairs,
        only_here=rows_here - differences.pairs,
        only_there=rows_there - differences.pairs,
        changed_text=differences.changed_text,
        order=list(ORDER),
        matrix=matrix,
        agreement=observed_agreement(matrix),
        agreement_low=low,
        agreement_high=high,
        kappa=cohen_kappa(matrix),
        linear_kappa=cohen_kappa(matrix, linear=True),
        changed_severity=compared - same,
        changed_categories=differences.changed_categories,
        changed_action=differences.changed_action,
        tenants=differences.shifts("tenant"),
        languages=differences.shifts("language"),
        groups_cut=differences.cut,
        categories=differences.category_shifts(),
        flips=[flip for _, flip in differences.flips],
    )


def _joined(before: Any, after: Any) -> _Pairs:
    """Rows that are in both, in one order."""
    first, second = (
        side.select(_KEY).append_column(name, pa.array(np.arange(len(side))))
        for name, side in (("before", before), ("after", after))
    )
    # One thread: several would give the pairs in another order each time.
    indices = first.join(second, keys=_KEY, join_type="inner", use_threads=False).combine_chunks()
    return _Pairs(before.take(indices["before"]), after.take(indices["after"]))


def _flip(before: dict[str, Any], after: dict[str, Any]) -> Flip:
    return Flip(
        event_id=after["event_id"],
        tenant=after["tenant"],
        conversation_id=after["conversation_id"],
        before=ORDER[before["severity"]],
        after=ORDER[after["severity"]],
        categories_before=named_in(before["categories"]),
        categories_after=named_in(after["categories"]),
        action_before=before["action"],
        action_after=after["action"],
        text_name=after["text_sha256"],
        text=None,
    )


def _numbers(column: Any) -> Any:
    return column.to_numpy().astype(np.int64)


def _whole(column: Any) -> Any:
    return pa.array(np.asarray(column, np.int64))
