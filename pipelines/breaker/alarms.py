"""What a breaker says: the alarms that it gives, each in a sentence with its figures, and its state at one moment.

Counts nothing.
"""

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol

from pipelines.breaker.drift import Drift
from pipelines.breaker.rules import BreakerRules
from schemas.reasons import Reason
from schemas.verdict import Severity


class Cause(StrEnum):
    """What a breaker saw."""

    FAILURE_RATIO = "failure_ratio"
    CONSECUTIVE_FAILURES = "consecutive_failures"
    INPUT_ERROR_RATIO = "input_error_ratio"
    CONSECUTIVE_INPUT_ERRORS = "consecutive_input_errors"
    VERDICT_DRIFT = "verdict_drift"


class Alarm(NamedTuple):
    """Something has gone wrong.

    Attributes:
        reason: one sentence with the figures, safe to log.
        opens: False for a warning.
        at_s: when, by the caller's clock.
    """

    cause: Cause
    reason: str
    opens: bool
    at_s: float


class Limits(NamedTuple):
    """For one kind of dead letter: the share, once there are enough records, and how many in a row."""

    ratio: float
    min_records: int
    consecutive: int


class DeadLetters(Protocol):
    """What an alarm asks of a window.

    Attributes:
        records: records in the window.
        letters: dead letters among them, by reason.
        run: dead letters in a row, by reason.
    """

    records: int
    letters: Counter[Reason]
    run: Counter[Reason]


class DeadLetterCounts(NamedTuple):
    """One kind of dead letters in the window, and of how many records."""

    records: int
    dead_letters: int
    consecutive: int
    by_reason: dict[Reason, int]


class BreakerView(NamedTuple):
    """A breaker at one moment.

    Attributes:
        open_s: seconds since it opened.
        warning: of a drift that only warns, while it lasts.
        drift: None while there is too little to compare.
    """

    state: Literal["closed", "open", "off"]
    cause: Cause | None
    reason: str | None
    open_s: float | None
    warning: str | None
    failures: DeadLetterCounts
    input_errors: DeadLetterCounts
    drift: Drift | None


def view_of(
    alarm: Alarm | None,
    warning: Alarm | None,
    failures: DeadLetterCounts,
    input_errors: DeadLetterCounts,
    drift: Drift | None,
    now_s: float,
    *,
    enabled: bool,
) -> BreakerView:
    """A breaker with this alarm and this warning, and what it has seen."""
    return BreakerView(
        state="off" if not enabled else "closed" if alarm is None else "open",
        cause=None if alarm is None else alarm.cause,
        reason=None if alarm is None else alarm.reason,
        open_s=None if alarm is None else now_s - alarm.at_s,
        warning=None if warning is None else warning.reason,
        failures=failures,
        input_errors=input_errors,
        drift=drift,
    )


def failure_alarm(window: DeadLetters, rules: BreakerRules, now_s: float) -> Alarm | None:
    """Where too many judged records became dead letters."""
    limits = Limits(rules.failure_ratio, rules.failure_min_records, rules.consecutive_failures)
    causes = Cause.FAILURE_RATIO, Cause.CONSECUTIVE_FAILURES
    return _too_many(window, limits, causes, ("judged records", "dead letters and no verdict"), now_s)


def input_error_alarm(window: DeadLetters, rules: BreakerRules, now_s: float) -> Alarm | None:
    """Where too many records were refused before the guard was asked."""
    limits = Limits(rules.input_error_ratio, rules.input_error_min_records, rules.consecutive_input_errors)
    causes = Cause.INPUT_ERROR_RATIO, Cause.CONSECUTIVE_INPUT_ERRORS
    return _too_many(window, limits, causes, ("records taken in", "records in a row refused"), now_s)


def drift_alarm(
    drift: Drift | None, rules: BreakerRules, now_s: float, warning: Alarm | None, *, is_ours: bool
) -> Alarm | None:
    """What is to be said of the mix of verdicts now.

    Args:
        drift: None while there is too little to compare.
        rules: when it has moved.
        now_s: monotonic seconds.
        warning: the one that lasts, if one does; returned while it does.
        is_ours: something of ours has changed with the mix; else it only warns.
    """
    limit = rules.drift_distance
    if drift is None or drift.distance - drift.chance < limit:
        # Not at the first look below, or a warning at the limit would come and go.
        return warning if drift is None or drift.distance >= limit else None
    if warning is not None:
        return warning
    moved = ", ".join(f"{label} {drift.baseline[label]:.3f} to {drift.recent[label]:.3f}" for label in Severity)
    reason = (
        f"the last {drift.records} verdicts are {drift.distance:.3f} away from their baseline"
        f" (limit {limit:g} and {drift.chance:.3f} for chance): {moved}"
    )
    return Alarm(Cause.VERDICT_DRIFT, reason, opens=rules.drift_action == "trip" and is_ours, at_s=now_s)


def _too_many(
    window: DeadLetters, limits: Limits, causes: tuple[Cause, Cause], words: tuple[str, str], now_s: float
) -> Alarm | None:
    """An alarm where a window holds too large a share of dead letters, or too many in a row; the first counts first."""
    if window.records >= limits.min_records and window.letters.total() >= limits.ratio * window.records:
        reason = f"{_share(window, words[0], limits.ratio)}: {_listed(window.letters)}"
        return Alarm(causes[0], reason, opens=True, at_s=now_s)
    if (run := window.run.total()) >= limits.consecutive:
        reason = f"{run} {words[1]} (limit {limits.consecutive}): {_listed(window.run)}"
        return Alarm(causes[1], reason, opens=True, at_s=now_s)
    return None


def counts_of(window: DeadLetters) -> DeadLetterCounts:
    """The figures of a window."""
    return DeadLetterCounts(window.records, window.letters.total(), window.run.total(), dict(window.letters))


def _share(window: DeadLetters, of: str, limit: float) -> str:
    dead = window.letters.total()
    share = dead / window.records
    return f"{dead} of the last {window.records} {of} are dead letters ({share:.3f}, limit {limit:g})"


def _listed(letters: Mapping[Reason, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in sorted(letters.items(), key=lambda item: -item[1]))
