"""Compares two runs over the same examples: where only one is right, and whether that can be chance.

McNemar's test looks only at examples on which one run is right and the other wrong. Fewer than 25 of them get the exact
binomial test, two-sided; 25 or more get chi-square with one degree of freedom and Edwards' correction.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import comb, erfc, sqrt
from typing import Literal

from pipelines.evaluation.binary import Answer, Bootstrap, Estimate, count_answers
from pipelines.evaluation.bootstrap import interval, resampled_counts
from pipelines.evaluation.examples import Mode, NoVerdict, Prediction, is_unsafe
from schemas.errors import ConfigurationError
from schemas.event import Task
from schemas.verdict import Severity

EXACT_BELOW = 25
_Pair = tuple[bool, bool | None, bool | None]


@dataclass(frozen=True, slots=True)
class McNemar:
    """The test's result; `only_first_right` and `only_second_right` are what it is made of."""

    only_first_right: int
    only_second_right: int
    test: Literal["exact", "chi_square"]
    statistic: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Contest:
    """One question put to both runs; `difference` is the second's F1 less the first's, with a paired interval."""

    items: int
    first_f1: float | None
    second_f1: float | None
    difference: Estimate
    mcnemar: McNemar


@dataclass(frozen=True, slots=True)
class RunComparison:
    """All contests by task and question, and what became of the severities.

    `transitions` counts examples by the first run's severity and the second's ("none" without a verdict) where they
    differ; `changed` lists the ids of some of them.
    """

    common: int
    only_first: int
    only_second: int
    contests: Mapping[str, Mapping[str, Contest]]
    transitions: Mapping[str, int]
    changed: tuple[str, ...]


def mcnemar(only_first_right: int, only_second_right: int) -> McNemar:
    """McNemar's test by the rule above; no discordant example at all is no evidence: p is 1."""
    discordant = only_first_right + only_second_right
    if discordant < EXACT_BELOW:
        fewer = min(only_first_right, only_second_right)
        tail = sum(comb(discordant, successes) for successes in range(fewer + 1)) / 2**discordant
        return McNemar(only_first_right, only_second_right, "exact", float(fewer), min(1.0, 2 * tail))
    statistic = max(0, abs(only_first_right - only_second_right) - 1) ** 2 / discordant
    return McNemar(only_first_right, only_second_right, "chi_square", statistic, erfc(sqrt(statistic / 2)))


def compare(
    first: Sequence[Prediction], second: Sequence[Prediction], rule: NoVerdict, bootstrap: Bootstrap, listed: int
) -> RunComparison:
    """Compare two runs on the examples that both have.

    Args:
        first: predictions of one run.
        second: predictions of the other.
        rule: how examples without a verdict count; left out, they are so from both.
        bootstrap: resamples pairs.
        listed: most ids of changed examples.

    Raises:
        ConfigurationError: no example is in both, or one id stands for different texts or labels.
    """
    others = {item.example_id: item for item in second}
    pairs = [(item, others[item.example_id]) for item in first if item.example_id in others]
    if not pairs:
        raise ConfigurationError("the two runs have no example id in common")
    for one, other in pairs:
        if (one.sha256, one.label) != (other.sha256, other.label):
            raise ConfigurationError(f"example {one.example_id!r}: its text or label differs between the two runs")
    contests: dict[str, dict[str, Contest]] = {}
    for task in Task:
        of_task = [pair for pair in pairs if pair[0].task is task]
        answered = {
            **{str(mode): [_safety(pair, mode) for pair in of_task] for mode in Mode},
            "refusal": [_refusal(pair) for pair in of_task] if task is Task.RESPONSE else [],
        }
        questions = {
            name: contest
            for name, answers in answered.items()
            if (contest := _contest(Counter(answer for answer in answers if answer), rule, bootstrap)) is not None
        }
        if questions:
            contests[str(task)] = questions
    changed = [(a, b) for a, b in pairs if _severity(a) != _severity(b)]
    transitions = Counter(f"{_severity(a)} -> {_severity(b)}" for a, b in changed)
    return RunComparison(
        len(pairs),
        len(first) - len(pairs),
        len(second) - len(pairs),
        contests,
        dict(transitions.most_common()),
        tuple(a.example_id for a, _ in changed[:listed]),
    )


def _severity(item: Prediction) -> str:
    return str(item.verdict.severity) if item.verdict else "none"


def _safety(pair: tuple[Prediction, Prediction], mode: Mode) -> _Pair | None:
    label = pair[0].label.severity
    if label is None:
        return None

    def flagged(severity: Severity | None) -> bool | None:
        return None if severity is None else is_unsafe(severity, mode)

    first, second = (flagged(item.verdict.severity if item.verdict else None) for item in pair)
    return is_unsafe(label, mode), first, second


def _refusal(pair: tuple[Prediction, Prediction]) -> _Pair | None:
    label = pair[0].label.refusal
    if label is None:
        return None
    first, second = (item.verdict.refusal if item.verdict else None for item in pair)
    return label, first, second


def _contest(cells: Counter[_Pair], rule: NoVerdict, bootstrap: Bootstrap) -> Contest | None:
    if rule is NoVerdict.LEFT_OUT:
        cells = Counter({cell: times for cell, times in cells.items() if None not in cell})
    if not cells:
        return None
    order = list(cells)

    def f1(side: Callable[[_Pair], Answer], times: Sequence[int]) -> float | None:
        return count_answers(zip(map(side, order), times, strict=True), rule).f1

    def first_of(cell: _Pair) -> Answer:
        return cell[0], cell[1]

    def second_of(cell: _Pair) -> Answer:
        return cell[0], cell[2]

    def gap(times: Sequence[int]) -> float | None:
        before, after = f1(first_of, times), f1(second_of, times)
        return None if before is None or after is None else after - before

    times = list(cells.values())
    draws = [gap(drawn) for drawn in resampled_counts(times, bootstrap.resamples, bootstrap.seed)]
    right = Counter[tuple[bool, bool]]()
    for (truth, one, other), count in cells.items():
        right[_is_right(truth, one, rule), _is_right(truth, other, rule)] += count
    return Contest(
        sum(times),
        f1(first_of, times),
        f1(second_of, times),
        Estimate(gap(times), *interval(draws, bootstrap.level)),
        mcnemar(right[True, False], right[False, True]),
    )


def _is_right(truth: bool, answer: bool | None, rule: NoVerdict) -> bool:
    if answer is None:
        return truth and rule is NoVerdict.UNSAFE
    return truth is answer
