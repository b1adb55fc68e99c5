"""Precision, recall and F1 of yes-or-no answers, and their intervals: Wilson's of shares, a bootstrap's of F1.

A figure whose denominator is zero is None: nothing was flagged, or there was nothing to find. That is what
scikit-learn gives with `zero_division=nan`; its default of 0 would pass for a measurement.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from pipelines.evaluation.agreement import wilson_interval
from pipelines.evaluation.bootstrap import interval, resampled_counts
from pipelines.evaluation.examples import NoVerdict

Cell = TypeVar("Cell", bound=Hashable)
Answer = tuple[bool, bool | None]
"""The truth, and what was answered: None for no verdict."""


class Bootstrap(NamedTuple):
    """How intervals are made: `level` is their coverage; 0 resamples give none, of shares neither."""

    resamples: int = 1_000
    level: float = 0.95
    seed: int = 1


class BinaryCounts(NamedTuple):
    """A confusion matrix; `no_verdict` examples are among the others as the rule says, or in none of them."""

    true_positives: int = 0
    false_positives: int = 0
    false_negatives: int = 0
    true_negatives: int = 0
    no_verdict: int = 0

    @property
    def precision(self) -> float | None:
        """Of what was flagged, the share that is positive."""
        return _ratio(*self.shares()["precision"])

    @property
    def recall(self) -> float | None:
        """Of what is positive, the share that was flagged."""
        return _ratio(*self.shares()["recall"])

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; 0 where something is positive or flagged, but never both."""
        return _ratio(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)

    @property
    def accuracy(self) -> float | None:
        """Share of right answers."""
        return _ratio(*self.shares()["accuracy"])

    @property
    def false_positive_rate(self) -> float | None:
        """Of what is negative, the share that was flagged."""
        return _ratio(*self.shares()["false_positive_rate"])

    def shares(self) -> dict[str, tuple[int, int]]:
        """The figures that are shares of examples: how many, of how many."""
        found, false, missed, passed = self[:4]
        return {
            "precision": (found, found + false),
            "recall": (found, found + missed),
            "accuracy": (found + passed, found + false + missed + passed),
            "false_positive_rate": (false, false + passed),
        }


METRICS = ("precision", "recall", "f1", "accuracy", "false_positive_rate")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its interval; None where it is undefined."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class BinaryFigures:
    """All that is said of one question; `items` counts those without a verdict too."""

    items: int
    positives: int
    counts: BinaryCounts
    precision: Estimate
    recall: Estimate
    f1: Estimate
    accuracy: Estimate
    false_positive_rate: Estimate


def count_answers(answers: Iterable[tuple[Answer, int]], rule: NoVerdict) -> BinaryCounts:
    """The confusion matrix of some answers with how often each was given."""
    matrix = {(truth, answer): 0 for truth in (False, True) for answer in (False, True)}
    no_verdict = 0
    for (truth, answer), times in answers:
        if answer is None:
            no_verdict += times
            if rule is NoVerdict.LEFT_OUT:
                continue
            answer = True if rule is NoVerdict.UNSAFE else not truth
        matrix[truth, answer] += times
    return BinaryCounts(matrix[True, True], matrix[False, True], matrix[True, False], matrix[False, False], no_verdict)


def binary_figures(
    cells: Mapping[Cell, int],
    readings: Mapping[str, Callable[[Cell], Answer]],
    rule: NoVerdict,
    bootstrap: Bootstrap,
) -> dict[str, BinaryFigures]:
    """Figures for each reading of the same examples.

    Args:
        cells: how many examples look alike to all readings.
        readings: by name, the truth and the answer of a cell.
        rule: how examples without a verdict count.
        bootstrap: resamples whole examples, so that all readings see the same ones.
    """
    order = list(cells)
    answers = {name: [read(cell) for cell in order] for name, read in readings.items()}

    def counted(times: Iterable[int]) -> dict[str, BinaryCounts]:
        drawn = list(times)
        return {name: count_answers(zip(read, drawn, strict=True), rule) for name, read in answers.items()}

    whole = counted(cells.values())
    draws = [counted(times) for times in resampled_counts(list(cells.values()), bootstrap.resamples, bootstrap.seed)]
    figures = {}
    for name, counts in whole.items():
        estimates = {
            metric: Estimate(getattr(counts, metric), *_ends(metric, counts, [draw[name] for draw in draws], bootstrap))
            for metric in METRICS
        }
        positives = sum(times for (truth, _), times in zip(answers[name], cells.values(), strict=True) if truth)
        figures[name] = BinaryFigures(sum(cells.values()), positives, counts, **estimates)
    return figures


def _ends(
    metric: str, counts: BinaryCounts, draws: Sequence[BinaryCounts], bootstrap: Bootstrap
) -> tuple[float | None, float | None]:
    """The interval of a figure; None where it is undefined."""
    if not draws or getattr(counts, metric) is None:
        return None, None
    if metric != "f1":
        return wilson_interval(*counts.shares()[metric], bootstrap.level)
    low, high = interval([draw.f1 for draw in draws], bootstrap.level)
    if low != high:
        return low, high
    # All examples are alike, so that resamples say nothing of others. F1 rises with the share of hits among all that
    # is positive or flagged, J: F1 = 2J / (1 + J).
    found, false, missed = counts[:3]
    low, high = wilson_interval(found, found + false + missed, bootstrap.level)
    return 2 * low / (1 + low), 2 * high / (1 + high)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
