"""Calibration, the sweep and the areas: equal to scikit-learn's."""

from collections.abc import Iterator
from random import Random

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    precision_recall_fscore_support,
    roc_auc_score,
)

from pipelines.evaluation.calibration import calibration
from pipelines.evaluation.examples import Mode, NoVerdict, unsafe_score
from pipelines.evaluation.report import ReportOptions, evaluate
from pipelines.evaluation.thresholds import sweep
from schemas.verdict import Severity
from tests.pipelines.evaluation.sample_predictions import drawn, prediction

STEPS = tuple(step / 10 for step in range(1, 10))


def _scored(seed: int, count: int, digits: int) -> list[tuple[float, bool]]:
    random = Random(seed)
    scores = [round(random.random(), digits) for _ in range(count)]
    return [(score, random.random() < 0.2 + 0.6 * score) for score in scores]


@pytest.mark.parametrize("bins", [2, 5, 10, 15])
@pytest.mark.parametrize(("seed", "digits"), [(1, 1), (2, 2), (3, 9)])  # one digit: scores on the edges of bins
def test_the_reliability_curve_is_that_of_scikit_learn(seed: int, digits: int, bins: int) -> None:
    scored = _scored(seed, 400, digits)
    truths, scores = [truth for _, truth in scored], [score for score, _ in scored]
    shares, means = calibration_curve(truths, scores, n_bins=bins)
    ours = calibration(scored, bins)
    assert ours is not None
    assert [step.share_positive for step in ours.bins] == pytest.approx(list(shares), abs=1e-12)
    assert [step.mean_score for step in ours.bins] == pytest.approx(list(means), abs=1e-12)
    assert ours.brier == pytest.approx(brier_score_loss(truths, scores), abs=1e-12)
    sizes = np.array([step.items for step in ours.bins])
    assert sizes.sum() == len(scored)
    assert ours.expected_error == pytest.approx((sizes * abs(shares - means)).sum() / len(scored), abs=1e-12)
    assert ours.largest_error == pytest.approx(abs(shares - means).max(), abs=1e-12)


def test_scores_that_mean_what_they_say_have_no_calibration_error() -> None:
    scored = [(0.25, True), *[(0.25, False)] * 3, *[(0.75, True)] * 3, (0.75, False)]
    ours = calibration(scored, 10)
    assert ours is not None
    assert ours.expected_error == 0
    assert calibration([], 10) is None


@pytest.mark.parametrize(("seed", "digits"), [(1, 1), (2, 2), (3, 9)])
def test_the_areas_are_those_of_scikit_learn(seed: int, digits: int) -> None:
    scored = _scored(seed, 400, digits)
    truths, scores = [truth for _, truth in scored], [score for score, _ in scored]
    ours = sweep(scored, [], STEPS, NoVerdict.WRONG)
    assert ours is not None
    assert ours.average_precision == pytest.approx(average_precision_score(truths, scores), abs=1e-12)
    assert ours.roc_auc == pytest.approx(roc_auc_score(truths, scores), abs=1e-12)


@pytest.mark.parametrize("rule", NoVerdict)
@pytest.mark.parametrize("mode", Mode)
def test_each_step_of_the_sweep_is_that_of_scikit_learn(mode: Mode, rule: NoVerdict) -> None:
    predictions = drawn(5, 300)
    ours = evaluate(predictions, ReportOptions(rule=rule)).tasks["response"].scores[mode].thresholds
    assert ours is not None
    best = 0.0
    for step in (*ours.steps, ours.best):
        assert step is not None
        truths, answers = [], []
        for item in predictions:
            truth = item.label.severity is Severity.UNSAFE or (
                mode is Mode.STRICT and item.label.severity is Severity.CONTROVERSIAL
            )
            if item.verdict is not None and item.verdict.scores is not None:
                answer = unsafe_score(item.verdict.scores, mode) >= step.threshold
            elif rule is NoVerdict.LEFT_OUT:
                continue
            else:
                answer = rule is NoVerdict.UNSAFE or not truth
            truths.append(truth)
            answers.append(answer)
        theirs = precision_recall_fscore_support(truths, answers, average="binary")
        assert (step.precision, step.recall, step.f1) == pytest.approx(theirs[:3], abs=1e-12)
        assert step.flagged == sum(answers)
        best = max(best, step.f1 or 0.0)
    assert ours.best is not None
    assert ours.best.f1 == best


def test_a_sweep_looks_at_the_scores_a_few_times_and_not_once_for_each() -> None:
    """A benchmark of 33,446 examples would take minutes."""

    class Counted(list[tuple[float, bool]]):
        looks = 0

        def __iter__(self) -> Iterator[tuple[float, bool]]:
            self.looks += 1
            return super().__iter__()

    scored = Counted((number / 100, number % 3 == 0) for number in range(100))
    assert sweep(scored, [], STEPS, NoVerdict.WRONG) is not None
    assert scored.looks < 10


def test_areas_need_both_kinds() -> None:
    only_safe = sweep([(0.2, False)], [], STEPS, NoVerdict.WRONG)
    assert only_safe is not None
    assert (only_safe.average_precision, only_safe.roc_auc) == (None, None)
    assert sweep([], [True], STEPS, NoVerdict.WRONG) is None


def test_strict_adds_the_controversial_share_and_loose_does_not() -> None:
    scores = {Severity.SAFE: 0.25, Severity.CONTROVERSIAL: 0.5, Severity.UNSAFE: 0.25}
    assert (unsafe_score(scores, Mode.STRICT), unsafe_score(scores, Mode.LOOSE)) == (0.75, 0.25)


def test_without_scores_there_is_no_calibration() -> None:
    scores = evaluate([prediction()], ReportOptions()).tasks["prompt"].scores
    assert {figures.calibration for figures in scores.values()} == {None}


def test_a_score_on_the_threshold_is_flagged() -> None:
    result = sweep([(0.5, True), (0.4, False)], [], (0.5,), NoVerdict.WRONG)
    assert result is not None
    assert (result.steps[0].flagged, result.steps[0].recall) == (1, 1.0)
