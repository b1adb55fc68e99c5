"""McNemar's test by its rule, equal to scipy's, and what may be compared at all."""

from dataclasses import replace

import pytest
from scipy import stats

from pipelines.evaluation.binary import Bootstrap
from pipelines.evaluation.comparison import EXACT_BELOW, compare, mcnemar
from pipelines.evaluation.examples import Label, NoVerdict
from schemas.errors import ConfigurationError
from schemas.verdict import Severity
from tests.pipelines.evaluation.sample_predictions import drawn, prediction

FEW = Bootstrap(100)


@pytest.mark.parametrize(("first", "second"), [(1, 0), (3, 9), (12, 12), (24, 0), (5, 6)])
def test_few_discordant_examples_take_the_exact_test(first: int, second: int) -> None:
    ours = mcnemar(first, second)
    assert ours.test == "exact"
    assert ours.p_value == pytest.approx(stats.binomtest(first, first + second, 0.5).pvalue, abs=1e-12)


@pytest.mark.parametrize(("first", "second"), [(25, 0), (12, 13), (30, 30), (60, 95), (400, 520)])
def test_many_take_chi_square_with_the_correction(first: int, second: int) -> None:
    ours = mcnemar(first, second)
    statistic = max(0, abs(first - second) - 1) ** 2 / (first + second)
    assert ours.test == "chi_square"
    assert ours.statistic == statistic
    assert ours.p_value == pytest.approx(stats.chi2.sf(statistic, 1), abs=1e-12)


def test_the_rule_changes_at_its_number() -> None:
    assert mcnemar(EXACT_BELOW - 1, 0).test == "exact"
    assert mcnemar(EXACT_BELOW, 0).test == "chi_square"
    assert mcnemar(0, 0).p_value == 1.0


def test_discordant_examples_are_counted_by_who_is_right() -> None:
    safe, unsafe = Severity.SAFE, Severity.UNSAFE
    kinds = [
        (unsafe, unsafe, safe),
        (unsafe, safe, unsafe),
        (unsafe, None, unsafe),
        (safe, safe, safe),
        (safe, None, safe),
    ]
    first = [prediction(str(number), label, a) for number, (label, a, _) in enumerate(kinds)]
    second = [prediction(str(number), label, b) for number, (label, _, b) in enumerate(kinds)]
    result = compare(first, second, NoVerdict.WRONG, FEW, 10)
    strict = result.contests["prompt"]["strict"]
    assert (strict.mcnemar.only_first_right, strict.mcnemar.only_second_right) == (1, 3)
    assert result.transitions == {"Unsafe -> Safe": 1, "Safe -> Unsafe": 1, "none -> Unsafe": 1, "none -> Safe": 1}
    assert result.changed == ("0", "1", "2", "4")
    flagged = compare(first, second, NoVerdict.UNSAFE, FEW, 10).contests["prompt"]["strict"].mcnemar
    assert (flagged.only_first_right, flagged.only_second_right) == (1, 2)
    left = compare(first, second, NoVerdict.LEFT_OUT, FEW, 10).contests["prompt"]["strict"]
    assert (left.items, left.mcnemar.only_second_right) == (3, 1)


def test_a_run_is_equal_to_itself() -> None:
    run = drawn(1, 200)
    for contest in compare(run, run, NoVerdict.WRONG, FEW, 10).contests["response"].values():
        assert (contest.difference.value, contest.difference.low, contest.difference.high) == (0, 0, 0)
        assert contest.mcnemar.p_value == 1


def test_the_interval_of_the_difference_is_paired() -> None:
    first = [prediction(str(number), Severity.UNSAFE, Severity.UNSAFE) for number in range(60)]
    first += [prediction(str(60 + number), Severity.UNSAFE, Severity.SAFE) for number in range(40)]
    second = [*first[:60], *(replace(item, verdict=first[0].verdict) for item in first[60:80]), *first[80:]]
    difference = compare(first, second, NoVerdict.WRONG, Bootstrap(500), 0).contests["prompt"]["strict"].difference
    assert difference.value == pytest.approx(2 * 80 / 180 - 2 * 60 / 160)
    assert difference.low is not None
    assert difference.low > 0, "all changes are for the better; two runs drawn apart could not say so"


def test_only_common_examples_are_compared() -> None:
    run = drawn(2, 30)
    result = compare(run[:20], run[10:], NoVerdict.WRONG, FEW, 10)
    assert (result.common, result.only_first, result.only_second) == (10, 10, 10)
    with pytest.raises(ConfigurationError, match="no example id in common"):
        compare(run[:10], run[10:], NoVerdict.WRONG, FEW, 10)


@pytest.mark.parametrize("change", [{"sha256": "other"}, {"label": Label(None, True)}])
def test_one_id_for_two_examples_is_refused(change: dict[str, object]) -> None:
    run = drawn(3, 5)
    changed = [*run[:4], replace(run[4], **change)]  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="example '4': its text or label differs"):
        compare(run, changed, NoVerdict.WRONG, FEW, 10)
