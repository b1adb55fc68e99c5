"""What another threshold on the unsafe score would give: a sweep, the best F1, and areas under the curves.

A score at or above the threshold is flagged. Examples without a verdict have no score: the sweep counts them by the
rule, the areas leave them out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from pipelines.evaluation.binary import BinaryCounts, count_answers
from pipelines.evaluation.calibration import Scored
from pipelines.evaluation.examples import NoVerdict


@dataclass(frozen=True, slots=True)
class ThresholdFigures:
    """What flagging from `threshold` on gives."""

    threshold: float
    flagged: int
    precision: float | None
    recall: float | None
    f1: float | None
    false_positive_rate: float | None


@dataclass(frozen=True, slots=True)
class ThresholdSweep:
    """The sweep's steps, the threshold of the best F1 among all scores that occur, and the areas.

    The best threshold is chosen on the examples that it is measured on, so it flatters itself. `average_precision` is
    the area under the steps of precision over recall, `roc_auc` the chance that a positive outscores a negative.
    """

    steps: tuple[ThresholdFigures, ...]
    best: ThresholdFigures | None
    average_precision: float | None
    roc_auc: float | None


def sweep(
    scored: Scored, without_verdict: Sequence[bool], thresholds: Sequence[float], rule: NoVerdict
) -> ThresholdSweep | None:
    """Sweep some thresholds; None without any score.

    Args:
        scored: unsafe score and truth of each example that has a verdict.
        without_verdict: truths of those that have none.
        thresholds: the steps to show.
        rule: how those without a verdict count.
    """
    if not scored:
        return None
    apart = count_answers((((truth, None), 1) for truth in without_verdict), rule)
    curve = _curve(scored)
    steps = tuple(_figures(at, _at(curve, at), apart) for at in thresholds)
    best: ThresholdFigures | None = None
    for at, positives, negatives in curve:
        step = _figures(at, (positives, negatives, *_rest(curve, positives, negatives)), apart)
        if step.f1 is not None and (best is None or best.f1 is None or step.f1 > best.f1):
            best = step
    return ThresholdSweep(steps, best, _average_precision(curve, scored), _roc_auc(curve, scored))


def _curve(scored: Scored) -> list[tuple[float, int, int]]:
    """For each score that occurs, highest first: positives and negatives that score so much or more."""
    curve = []
    positives = negatives = 0
    for score, group in groupby(sorted(scored, reverse=True), key=lambda item: item[0]):
        for _, truth in group:
            positives += truth
            negatives += not truth
        curve.append((score, positives, negatives))
    return curve


def _rest(curve: list[tuple[float, int, int]], positives: int, negatives: int) -> tuple[int, int]:
    _, all_positives, all_negatives = curve[-1]
    return all_positives - positives, all_negatives - negatives


def _at(curve: list[tuple[float, int, int]], threshold: float) -> tuple[int, int, int, int]:
    reached = [(positives, negatives) for score, positives, negatives in curve if score >= threshold]
    positives, negatives = reached[-1] if reached else (0, 0)
    return positives, negatives, *_rest(curve, positives, negatives)


def _figures(threshold: float, counts: tuple[int, int, int, int], apart: BinaryCounts) -> ThresholdFigures:
    both = BinaryCounts(*(mine + theirs for mine, theirs in zip(counts, apart[:4], strict=True)))
    flagged = both.true_positives + both.false_positives
    return ThresholdFigures(threshold, flagged, both.precision, both.recall, both.f1, both.false_positive_rate)


def _average_precision(curve: list[tuple[float, int, int]], scored: Scored) -> float | None:
    total = sum(truth for _, truth in scored)
    if not total:
        return None
    area, before = 0.0, 0
    for _, positives, negatives in curve:
        area += (positives - before) / total * (positives / (positives + negatives))
        before = positives
    return area


def _roc_auc(curve: list[tuple[float, int, int]], scored: Scored) -> float | None:
    total = sum(truth for _, truth in scored)
    others = len(scored) - total
    if not total or not others:
        return None
    # In halves, so that ties stay whole numbers.
    halves = positives = negatives = 0
    for _, reached, passed in curve:
        halves += (passed - negatives) * (reached + positives)
        positives, negatives = reached, passed
    return halves / (2 * total * others)
