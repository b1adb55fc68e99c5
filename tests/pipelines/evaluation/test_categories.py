"""Figures by category: equal to scikit-learn's where categories are the guard's own."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support
from sklearn.preprocessing import MultiLabelBinarizer

from pipelines.evaluation.categories import category_naming, recall_by_category
from schemas.verdict import Category, Severity
from tests.pipelines.evaluation.sample_predictions import CATEGORIES, drawn, prediction


@pytest.mark.parametrize("seed", range(4))
def test_naming_is_that_of_scikit_learn(seed: int) -> None:
    predictions = drawn(seed, 400)
    ours = category_naming(predictions)
    assert ours is not None
    binarizer = MultiLabelBinarizer(classes=CATEGORIES).fit([])
    truths = binarizer.transform([item.label.categories for item in predictions])
    answers = binarizer.transform([item.verdict.categories if item.verdict else () for item in predictions])
    each = precision_recall_fscore_support(truths, answers, average=None, zero_division=np.nan)
    assert [row.category for row in ours.categories] == list(CATEGORIES)
    for place, row in enumerate(ours.categories):
        assert (row.precision, row.recall, row.f1) == pytest.approx(tuple(part[place] for part in each[:3]), abs=1e-12)
        assert row.labelled == each[3][place]
    micro = precision_recall_fscore_support(truths, answers, average="micro")
    assert (ours.micro_precision, ours.micro_recall, ours.micro_f1) == pytest.approx(micro[:3], abs=1e-12)
    macro = precision_recall_fscore_support(truths, answers, average="macro")
    assert ours.macro_f1 == pytest.approx(macro[2], abs=1e-12)
    right = sum(
        item.verdict is not None and set(item.verdict.categories) == set(item.label.categories) for item in predictions
    )
    assert ours.exact == right / len(predictions)


def test_foreign_categories_are_not_compared_with_the_guards() -> None:
    foreign = [prediction(label=Severity.UNSAFE, verdict=Severity.UNSAFE, label_categories=("animal_abuse",))]
    assert category_naming(foreign) is None
    assert category_naming([prediction()]) is None


def test_recall_goes_by_the_label_in_any_taxonomy() -> None:
    def labelled(verdict: Severity | None, number: int) -> object:
        return prediction(str(number), Severity.UNSAFE, verdict, label_categories=("drugs",))

    predictions = [
        labelled(verdict, number)
        for number, verdict in enumerate((Severity.UNSAFE, Severity.CONTROVERSIAL, Severity.SAFE, None))
    ]
    predictions.append(prediction("safe", Severity.SAFE, Severity.UNSAFE, label_categories=("drugs",)))
    (row,) = recall_by_category(predictions)  # type: ignore[arg-type]
    assert (row.category, row.items, row.strict_recall, row.loose_recall, row.no_verdict) == ("drugs", 4, 0.5, 0.25, 1)


def test_a_verdict_that_is_missing_is_not_right_about_no_category() -> None:
    violent = (str(Category.VIOLENT),)
    predictions = [
        prediction("1", Severity.UNSAFE, Severity.UNSAFE, label_categories=violent, categories=violent),
        prediction("2", Severity.SAFE, None),
    ]
    naming = category_naming(predictions)
    assert naming is not None
    assert naming.exact == 0.5
