"""Predictions drawn at random, with every kind of answer among them, and the same as scikit-learn's arrays."""

from collections.abc import Sequence
from random import Random

from pipelines.evaluation.examples import Label, Mode, NoVerdict, Prediction, Verdict, is_unsafe
from schemas.event import Task
from schemas.reasons import Reason
from schemas.verdict import Category, Severity

SEVERITIES = tuple(Severity)
CATEGORIES = tuple(map(str, Category))


def prediction(
    example_id: str = "1",
    label: Severity | None = Severity.SAFE,
    verdict: Severity | None = Severity.SAFE,
    *,
    task: Task = Task.PROMPT,
    benchmark: str = "labelled",
    language: str | None = None,
    label_refusal: bool | None = None,
    refusal: bool | None = None,
    label_categories: tuple[str, ...] = (),
    categories: tuple[str, ...] = (),
    scores: dict[Severity, float] | None = None,
    sha256: str = "0",
) -> Prediction:
    """One prediction; `verdict` None is an output that did not parse."""
    said = None if verdict is None else Verdict(verdict, categories, refusal, scores)
    failure = Reason.UNPARSABLE_OUTPUT if verdict is None else None
    told = Label(label, label_refusal, label_categories)
    return Prediction(example_id, benchmark, task, language, sha256, told, said, failure)


def drawn(seed: int, count: int, task: Task = Task.RESPONSE) -> list[Prediction]:
    """Random predictions: right more often than not, one in ten without a verdict."""
    random = Random(seed)
    made = []
    for number in range(count):
        label = random.choice(SEVERITIES)
        verdict = label if random.random() < 0.6 else random.choice(SEVERITIES)
        weights = [random.random() + (severity is verdict) for severity in SEVERITIES]
        made.append(
            prediction(
                str(number),
                label,
                None if random.random() < 0.1 else verdict,
                task=task,
                language=random.choice(("en", "de", "zh")),
                label_refusal=random.random() < 0.3,
                refusal=random.random() < 0.3,
                label_categories=_some(random, label),
                categories=_some(random, verdict),
                scores={severity: weight / sum(weights) for severity, weight in zip(SEVERITIES, weights, strict=True)},
            )
        )
    return made


def arrays(predictions: Sequence[Prediction], mode: Mode, rule: NoVerdict) -> tuple[list[bool], list[bool]]:
    """Truth and prediction in the plainest way, for scikit-learn; what the rule leaves out is not in them."""
    truths, answers = [], []
    for item in predictions:
        assert item.label.severity is not None
        truth = is_unsafe(item.label.severity, mode)
        if item.verdict is not None:
            answer = is_unsafe(item.verdict.severity, mode)
        elif rule is NoVerdict.LEFT_OUT:
            continue
        else:
            answer = True if rule is NoVerdict.UNSAFE else not truth
        truths.append(truth)
        answers.append(answer)
    return truths, answers


def _some(random: Random, severity: Severity) -> tuple[str, ...]:
    return () if severity is Severity.SAFE else tuple(random.sample(CATEGORIES, random.choice((1, 1, 1, 2))))
