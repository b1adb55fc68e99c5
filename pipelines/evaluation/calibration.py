"""Calibration: of what was scored 0.8, 80 % should be unsafe.

Works on pairs of score and truth. Scores are probabilities; nothing is fitted.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

Scored = Sequence[tuple[float, bool]]


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """One step of the reliability curve: scores over `low` up to `high` (the first from 0 on), and what they met."""

    low: float
    high: float
    items: int
    mean_score: float
    share_positive: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """The reliability curve, without its empty bins, and three sums of it.

    `expected_error` is the mean over all examples of their bin's gap between mean score and share of positives (ECE);
    `largest_error` the largest gap; `brier` the mean squared distance between score and truth.
    """

    items: int
    bins: tuple[ReliabilityBin, ...]
    expected_error: float
    largest_error: float
    brier: float


def calibration(scored: Scored, bins: int) -> Calibration | None:
    """The reliability curve over that many bins of equal width; None without any score."""
    if not scored:
        return None
    width = 1.0 / bins
    edges = [step * width for step in range(1, bins)]
    members: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for item in scored:
        members[bisect_left(edges, item[0])].append(item)
    curve = tuple(
        ReliabilityBin(
            index * width,
            (index + 1) * width,
            len(inside),
            sum(score for score, _ in inside) / len(inside),
            sum(truth for _, truth in inside) / len(inside),
        )
        for index, inside in enumerate(members)
        if inside
    )
    gaps = [abs(step.mean_score - step.share_positive) for step in curve]
    return Calibration(
        len(scored),
        curve,
        sum(gap * step.items for gap, step in zip(gaps, curve, strict=True)) / len(scored),
        max(gaps),
        sum((score - truth) ** 2 for score, truth in scored) / len(scored),
    )
