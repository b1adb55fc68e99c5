"""Kappa and Wilson's interval, beside scikit-learn's and SciPy's."""

import pytest
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from pipelines.evaluation.agreement import Matrix, cohen_kappa, observed_agreement, wilson_interval

MATRICES = [
    [[50, 3, 2], [4, 20, 1], [0, 5, 15]],
    [[0, 10, 0], [10, 0, 0], [0, 0, 1]],
    [[7, 0], [1, 9]],
]


def answers(matrix: Matrix) -> tuple[list[int], list[int]]:
    """What the two judges said, one by one."""
    said = [
        (first, second) for first, row in enumerate(matrix) for second, times in enumerate(row) for _ in range(times)
    ]
    return [first for first, _ in said], [second for _, second in said]


@pytest.mark.parametrize("matrix", MATRICES)
def test_kappa_equals_that_of_scikit_learn(matrix: Matrix) -> None:
    assert cohen_kappa(matrix) == pytest.approx(cohen_kappa_score(*answers(matrix)), abs=1e-12)
    assert cohen_kappa(matrix, linear=True) == pytest.approx(
        cohen_kappa_score(*answers(matrix), weights="linear"), abs=1e-12
    )


def test_agreement_is_the_share_of_the_diagonal() -> None:
    assert observed_agreement(MATRICES[0]) == pytest.approx(0.85)


@pytest.mark.parametrize("matrix", [[[0, 0], [0, 0]], [[9, 0], [0, 0]]])
def test_kappa_is_undefined_where_both_judges_know_one_class_only(matrix: Matrix) -> None:
    assert cohen_kappa(matrix) is None


def test_nothing_agrees_with_nothing_in_no_degree() -> None:
    assert observed_agreement([[0, 0], [0, 0]]) is None


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (3, 3), (90, 100), (1, 1_000_000)])
def test_wilsons_interval_equals_that_of_scipy(successes: int, trials: int) -> None:
    expected = binomtest(successes, trials).proportion_ci(0.95, method="wilson")

    assert wilson_interval(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_share_of_few_trials_does_not_lead() -> None:
    assert wilson_interval(3, 3)[0] < wilson_interval(90, 100)[0]
    assert wilson_interval(0, 0) == (0.0, 1.0)
