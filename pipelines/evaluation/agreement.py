"""How far two judges of the same items agree beyond chance, and an interval for a share of few items.

Does not know who is right; `pipelines.evaluation.comparison` does, where there are labels.
"""

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist

Matrix = Sequence[Sequence[int]]
"""Square: how many things the first judge put into the row's class and the second into the column's."""


def observed_agreement(matrix: Matrix) -> float | None:
    """The share on the diagonal; None of nothing."""
    total = sum(map(sum, matrix))
    return sum(row[index] for index, row in enumerate(matrix)) / total if total else None


def cohen_kappa(matrix: Matrix, *, linear: bool = False) -> float | None:
    """Cohen's kappa: 1 is full agreement, 0 is what chance gives.

    None where chance alone agrees fully, as when both judges used one class only.

    Args:
        matrix: with the classes in their order.
        linear: weigh a disagreement by its distance in that order; else all weigh the same.
    """
    total = sum(map(sum, matrix))
    rows = [sum(row) for row in matrix]
    columns = [sum(column) for column in zip(*matrix, strict=True)]
    observed = expected = 0
    for first, row in enumerate(matrix):
        for second, count in enumerate(row):
            weight = abs(first - second) if linear else int(first != second)
            observed += weight * count
            expected += weight * rows[first] * columns[second]
    return 1 - observed * total / expected if expected else None


def wilson_interval(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share. Its low end ranks shares so that 3 of 3 do not lead over 90 of 100.

    No trial at all tells nothing: (0, 1).
    """
    if not trials:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, spread = successes / trials, z * z / trials
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * sqrt(share * (1 - share) / trials + spread / (4 * trials))
    return max(0.0, centre - half), min(1.0, centre + half)
