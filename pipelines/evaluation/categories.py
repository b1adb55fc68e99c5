"""Figures by category: the share of each labelled category that was flagged, and how well the category was named.

The second needs labels in the guard's own words. Benchmarks have taxonomies of their own, which nothing here
translates; for them there is only the first.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipelines.evaluation.binary import BinaryCounts
from pipelines.evaluation.examples import Mode, Prediction, is_unsafe
from schemas.verdict import Category

_GUARDS_OWN = frozenset(map(str, Category))


@dataclass(frozen=True, slots=True)
class CategoryRecall:
    """Unsafe examples labelled with one category: how many, and which shares were flagged."""

    category: str
    items: int
    strict_recall: float | None
    loose_recall: float | None
    no_verdict: int


@dataclass(frozen=True, slots=True)
class CategoryFigures:
    """How well one category was named, over the examples with a category in label or verdict."""

    category: str
    labelled: int
    named: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True, slots=True)
class CategoryNaming:
    """All categories of the guard; `micro` sums their counts, `macro` means the F1 that are defined."""

    items: int
    categories: tuple[CategoryFigures, ...]
    micro_precision: float | None
    micro_recall: float | None
    micro_f1: float | None
    macro_f1: float | None
    exact: float | None


def recall_by_category(predictions: Iterable[Prediction]) -> tuple[CategoryRecall, ...]:
    """One entry per labelled category, most frequent first; without a verdict counts as missed."""
    items: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    flagged: dict[Mode, Counter[str]] = {mode: Counter() for mode in Mode}
    for item in predictions:
        if item.label.severity is None or not is_unsafe(item.label.severity, Mode.STRICT):
            continue
        for category in set(item.label.categories):
            items[category] += 1
            if item.verdict is None:
                missing[category] += 1
                continue
            for mode in Mode:
                flagged[mode][category] += is_unsafe(item.verdict.severity, mode)
    return tuple(
        CategoryRecall(
            category,
            count,
            flagged[Mode.STRICT][category] / count,
            flagged[Mode.LOOSE][category] / count,
            missing[category],
        )
        for category, count in sorted(items.items(), key=lambda entry: (-entry[1], entry[0]))
    )


def category_naming(predictions: Sequence[Prediction]) -> CategoryNaming | None:
    """Precision, recall and F1 of each category; None unless all labelled categories are the guard's own.

    An example without a verdict names nothing, so its categories count as missed.
    """
    labelled = [item for item in predictions if item.label.severity is not None]
    words = {category for item in labelled for category in item.label.categories}
    if not words or not words <= _GUARDS_OWN:
        return None
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    exact = 0
    for item in labelled:
        truth = set(item.label.categories)
        named = set(item.verdict.categories) if item.verdict else set()
        right.update(truth & named)
        wrong.update(named - truth)
        missed.update(truth - named)
        exact += item.verdict is not None and truth == named
    known = [str(category) for category in Category if right[category] + wrong[category] + missed[category]]
    counts = {name: BinaryCounts(right[name], wrong[name], missed[name]) for name in known}
    micro = BinaryCounts(right.total(), wrong.total(), missed.total())
    f1s = [count.f1 for count in counts.values() if count.f1 is not None]
    return CategoryNaming(
        len(labelled),
        tuple(
            CategoryFigures(
                name, right[name] + missed[name], right[name] + wrong[name], count.precision, count.recall, count.f1
            )
            for name, count in counts.items()
        ),
        micro.precision,
        micro.recall,
        micro.f1,
        sum(f1s) / len(f1s) if f1s else None,
        exact / len(labelled),
    )
