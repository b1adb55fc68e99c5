"""Qwen3Guard's labels in the names of others, each with a score that agrees with what was decided.

Qwen3Guard names categories that it finds, mostly one. So a category that is false was not named; one that it does not
know was not assessed, and whoever asks is told which.
"""

from collections.abc import Mapping, Sequence
from math import inf, nextafter
from typing import Any, NamedTuple

from pydantic_core import from_json

from pipelines.guard_family import QWEN3GUARD_GEN
from schemas.dead_letter import DeadLetter
from schemas.verdict import Action, Category
from schemas.verdict_writer import VerdictText
from workers.ask.asking import Answer

Names = Mapping[str, Category | None]  # a name of others: the category that it stands for; None: not assessed
_HALF = 0.5
_ABOVE_HALF = nextafter(_HALF, inf)
UNJUDGED = "unjudged"


class Labels(NamedTuple):
    """An answer in the names of others.

    Attributes:
        flagged: the policy wants something done, or nobody knows.
        categories: whether each is why.
        scores: above a half exactly where the category is true.
        not_assessed: names that say nothing.
        weir: the verdict, or why there is none.
    """

    flagged: bool
    categories: dict[str, bool]
    scores: dict[str, float]
    not_assessed: list[str]
    weir: dict[str, Any]


def is_flagged(verdict: VerdictText) -> bool:
    """Whether the tenant's policy wants anything done."""
    return verdict.action is not Action.ALLOW


def verdict_of(verdict: VerdictText) -> dict[str, Any]:
    """The verdict as it would stand on Kafka."""
    read: dict[str, Any] = from_json(verdict.value)
    return read


def labels_of(answer: Answer, names: Names) -> Labels:
    """An answer in the given names. One that could not be judged is flagged, as `unjudged`."""
    outcome = answer.outcome
    if isinstance(outcome, DeadLetter):
        return _without_verdict(outcome, names, answer.is_skipped)
    verdict = verdict_of(outcome)
    flagged = is_flagged(outcome)
    named = set(outcome.kind.categories) if flagged else set()
    categories = {name: category in named for name, category in names.items()}
    known = QWEN3GUARD_GEN.categories[outcome.kind.task].values()
    probabilities = verdict["scores"] and verdict["scores"]["categories"]
    return Labels(
        flagged,
        categories,
        {name: _score(names[name], is_true, probabilities) for name, is_true in categories.items()},
        [name for name, category in names.items() if category not in known],
        {"verdict": verdict, "scores": "probabilities" if probabilities else "labels"},
    )


def model_of(answers: Sequence[Answer]) -> str:
    """Name of the model that answered; ours where none did."""
    return next((one.outcome.provenance.model for one in answers if isinstance(one.outcome, VerdictText)), "weir")


def _score(category: Category | None, is_true: bool, probabilities: Mapping[str, float] | None) -> float:
    if category is None or not probabilities:
        return float(is_true)
    probability = probabilities.get(category, 0.0)
    return max(probability, _ABOVE_HALF) if is_true else min(probability, _HALF)


def _without_verdict(letter: DeadLetter, names: Names, is_skipped: bool) -> Labels:
    categories = dict.fromkeys(names, False)
    if is_skipped:
        return Labels(False, categories, dict.fromkeys(names, 0.0), list(names), {"skipped": letter.reason})
    categories[UNJUDGED] = True
    scores = {**dict.fromkeys(names, 0.0), UNJUDGED: 1.0}
    return Labels(True, categories, scores, list(names), {"error": error_of(letter)})


def error_of(letter: DeadLetter) -> dict[str, str]:
    """Why there is no verdict; names fields and rules, never text."""
    return {"reason": letter.reason, "stage": letter.stage, "detail": letter.detail}
