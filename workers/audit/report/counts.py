"""Counts a run's verdicts, batch by batch, in memory that does not grow with the run.

Groups beyond a bound are counted together, so every sum stays exact.
"""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.evaluation.agreement import wilson_interval
from schemas.verdict import Severity
from workers.audit.report.model import Breakdown, Group, Histogram

COUNTED = [
    "tenant",
    "language",
    "task",
    "occurred_at",
    "severity",
    "categories",
    "action",
    "severity_scores",
    "refusal_score",
    "prompt_tokens",
    "output_tokens",
    "length_policy",
]
MOST_GROUPS = 10_000
MOST_HOURS = 200_000
BINS = 20
_LANGUAGE_CHARACTERS = 64
_HOUR_US = 3_600_000_000
_YEARS_1_TO_9999 = (-17_259_888, 70_389_527)
"""Hours that Python's datetime has."""
REFUSAL = "refusal"


class GroupCounts:
    """Severities and categories of rows by a key; keys that come after the first `most` share one entry."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.severities: dict[Any, Counter[str]] = {}
        self.categories: dict[Any, Counter[str]] = {}
        self.rest = (Counter[str](), Counter[str]())
        self.cut = False

    def add(self, keys: Any, severities: Any, parents: Any, categories: Any) -> None:
        """Count a batch; `parents` are the rows that the flattened `categories` belong to."""
        for key, label, count in pair_counts(keys, severities):
            self._entry(key)[0][label] += count
        for key, label, count in pair_counts(keys.take(parents), categories):
            self._entry(key)[1][label] += count

    def _entry(self, key: Any) -> tuple[Counter[str], Counter[str]]:
        if key not in self.severities:
            if len(self.severities) >= self._most:
                self.cut = True
                return self.rest
            self.severities[key], self.categories[key] = Counter(), Counter()
        return self.severities[key], self.categories[key]

    def breakdown(self, listed: int) -> Breakdown:
        """The largest groups, and all others as one."""
        order = sorted(self.severities, key=lambda key: (-self.severities[key].total(), str(key)))
        groups = [group_of(key, self.severities[key], self.categories[key]) for key in order[:listed]]
        severities, categories = Counter(self.rest[0]), Counter(self.rest[1])
        for key in order[listed:]:
            severities.update(self.severities[key])
            categories.update(self.categories[key])
        rest = group_of(None, severities, categories) if severities else None
        return Breakdown(listed=groups, rest=rest, distinct=len(order) + self.cut, cut=self.cut)


class VerdictCounts:
    """All that is counted of every verdict; takes batches with the columns `COUNTED`."""

    def __init__(self) -> None:
        self.severities, self.categories = Counter[str](), Counter[str]()
        self.actions, self.tasks, self.handling = Counter[str](), Counter[str](), Counter[str]()
        self.prompt_tokens = self.output_tokens = 0
        self.tenants, self.languages = GroupCounts(MOST_GROUPS), GroupCounts(MOST_GROUPS)
        self.hours = GroupCounts(MOST_HOURS)
        self._bins: dict[str, dict[str, Any]] = {}

    @property
    def verdicts(self) -> int:
        """How many were counted."""
        return self.severities.total()

    def add(self, batch: Any, scores: Any) -> None:
        """Count a batch; `scores` are those of `scores_of`."""
        severities, categories = batch["severity"], pc.list_flatten(batch["categories"])
        parents = pc.list_parent_indices(batch["categories"])
        for counter, column in (
            (self.severities, severities),
            (self.categories, categories),
            (self.actions, batch["action"]),
            (self.tasks, batch["task"]),
            (self.handling, batch["length_policy"]),
        ):
            counter.update({entry["values"]: entry["counts"] for entry in pc.value_counts(column).to_pylist()})
        self.prompt_tokens += pc.sum(batch["prompt_tokens"]).as_py() or 0
        self.output_tokens += pc.sum(batch["output_tokens"]).as_py() or 0
        for groups, keys in (
            (self.tenants, batch["tenant"]),
            (self.languages, languages_of(batch)),
            (self.hours, hours_of(batch["occurred_at"])),
        ):
            groups.add(keys, severities, parents, categories)
        for label, of_label in zip(Severity, scores, strict=True):
            self._add_scores(label.value, of_label, severities)
        refusal = batch["refusal_score"].fill_null(float("nan")).to_numpy(zero_copy_only=False)
        self._add_scores(REFUSAL, refusal, severities)

    def histograms(self) -> list[Histogram]:
        """The distributions of scores, of labels that have any."""
        return [
            Histogram(
                label=label,
                bins=BINS,
                severities={severity: bins.tolist() for severity, bins in parts.items()},
                scored=int(sum(bins.sum() for bins in parts.values())),
            )
            for label, parts in self._bins.items()
        ]

    def _add_scores(self, label: str, scores: Any, severities: Any) -> None:
        known = (scores >= 0) & (scores <= 1)  # and so not NaN, which stands for none
        if not known.any():
            return
        indices = np.minimum((np.where(known, scores, 0) * BINS).astype(np.int64), BINS - 1)
        parts = self._bins.setdefault(label, {severity.value: np.zeros(BINS, np.int64) for severity in Severity})
        for severity, bins in parts.items():
            bins += np.bincount(indices[known & mask_of(pc.equal(severities, severity))], minlength=BINS)


def group_of(name: str | None, severities: Counter[str], categories: Counter[str], tenant: str | None = None) -> Group:
    """One group's figures."""
    rows, unsafe = severities.total(), severities[Severity.UNSAFE.value]
    low, high = wilson_interval(unsafe, rows)
    return Group(
        name=name,
        tenant=tenant,
        rows=rows,
        severities=in_order(severities),
        categories=dict(sorted(categories.items(), key=lambda item: (-item[1], item[0]))),
        unsafe_share=unsafe / rows if rows else 0.0,
        low=low,
        high=high,
    )


def in_order(severities: Counter[str]) -> dict[str, int]:
    """Counts by severity, mildest first, none left out."""
    return {severity.value: severities[severity.value] for severity in Severity}


def pair_counts(keys: Any, labels: Any) -> list[tuple[Any, str, int]]:
    """How often each pair of a key and a label occurs."""
    # One thread: several promise no order, and the order decides which groups are beyond the bound.
    grouped = pa.table({"key": keys, "label": labels}).group_by(["key", "label"], use_threads=False)
    table = grouped.aggregate([([], "count_all")])
    return list(zip(*(table[name].to_pylist() for name in ("key", "label", "count_all")), strict=True))


def languages_of(batch: Any) -> Any:
    """The languages of rows, cut to the length that a language tag can have; the input's column may hold anything."""
    return pc.utf8_slice_codeunits(batch["language"], 0, _LANGUAGE_CHARACTERS)


def hours_of(times: Any) -> Any:
    """Hours since the epoch, rounded down; null where there is no time or an impossible one."""
    moments = times.cast(pa.int64())
    whole = np.floor_divide(moments.fill_null(0).to_numpy(zero_copy_only=False), _HOUR_US)
    low, high = _YEARS_1_TO_9999
    return pa.array(whole, mask=mask_of(moments.is_null()) | (whole < low) | (whole > high))


def scores_of(batch: Any) -> Any:
    """The scores of each severity, severities x rows, NaN where there is none."""
    maps = batch["severity_scores"]
    offsets = maps.offsets.to_numpy()
    begin, end = int(offsets[0]), int(offsets[-1])
    labels = pc.index_in(maps.keys.slice(begin, end - begin), value_set=pa.array([label.value for label in Severity]))
    values = maps.items.slice(begin, end - begin).fill_null(float("nan")).to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(maps)), np.diff(offsets))
    known = mask_of(labels.is_valid()) & maps.is_valid().to_numpy(zero_copy_only=False)[rows]
    scores = np.full((len(Severity), len(maps)), np.nan)
    scores[labels.fill_null(0).to_numpy(zero_copy_only=False)[known], rows[known]] = values[known]
    return scores


def mask_of(column: Any) -> Any:
    """A column of truths as a numpy mask, false where it is null."""
    return column.fill_null(False).to_numpy(zero_copy_only=False).astype(bool)
