"""Resampled counts are multinomial, and quantiles numpy's."""

import numpy as np
import pytest
from scipy import stats

from pipelines.evaluation.bootstrap import interval, resampled_counts


@pytest.mark.parametrize("counts", [[3, 9], [40, 160], [1, 999], [5, 0, 70, 25]])
def test_counts_are_drawn_from_the_right_distribution(counts: list[int]) -> None:
    draws = list(resampled_counts(counts, 4_000, 11))
    total = sum(counts)
    assert {sum(draw) for draw in draws} == {total}
    for place, count in enumerate(counts):
        seen = [draw[place] for draw in draws]
        if not count:
            assert not any(seen)
            continue
        expected = stats.binom(total, count / total)
        # Bins of some size, as the test wants them.
        edges = sorted({int(expected.ppf(share)) for share in np.linspace(0.1, 0.9, 9)} | {-1, total})
        chances = np.diff(expected.cdf(edges))
        found, _ = np.histogram(seen, [edge + 0.5 for edge in edges])
        assert stats.chisquare(found, chances / chances.sum() * len(seen)).pvalue > 1e-4


def test_cells_of_one_draw_depend_on_each_other() -> None:
    first, second = np.array(list(resampled_counts([50, 50, 100], 4_000, 3))).T[:2]
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(-1 / 3, abs=0.05)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
def test_the_interval_is_numpys_percentiles(level: float) -> None:
    values = [float(value) for value in np.random.default_rng(2).normal(size=137)]
    low, high = interval([*values, None], level)
    expected = np.percentile(values, [50 * (1 - level), 50 * (1 + level)])
    assert (low, high) == pytest.approx(tuple(expected), abs=1e-12)


def test_there_is_no_interval_of_nothing() -> None:
    assert interval([None, None], 0.95) == (None, None)
    assert interval([], 0.95) == (None, None)
    assert interval([2.0], 0.95) == (2.0, 2.0)


def test_no_example_and_certain_outcomes_are_drawn_as_they_are() -> None:
    assert list(resampled_counts([0, 0], 2, 1)) == [[0, 0], [0, 0]]
    assert list(resampled_counts([0, 100], 2, 1)) == [[0, 100], [0, 100]]
