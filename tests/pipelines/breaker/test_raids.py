"""The breaker cannot be played: what a stranger does by writing messages never stops moderation, at any size and rate.

All times are virtual.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import product

import pytest

from pipelines.breaker.alarms import Alarm, Cause
from pipelines.breaker.breaker import Breaker
from pipelines.breaker.causes import WEIGHT_OF, Weight
from pipelines.breaker.rules import BreakerRules
from schemas.reasons import STAGE_OF, Reason, Stage
from schemas.verdict import Severity
from tests.pipelines.breaker.breaker_rules import SAFE
from workers.settings.loading import load_settings

RULES = load_settings().breaker
RAID_S = 1_800
RATES = [(0.55, 10), (5, 15), (50, 210), (1, 50_000)]  # of ordinary messages a second, and of the raid's
RAIDABLE = [reason for reason in Reason if WEIGHT_OF[reason] in (Weight.NEVER, Weight.AFTER_CHANGE)]
OLD, NEW = "revision-1 prompt", "revision-2 prompt"
CALM = {Severity.SAFE: 95, Severity.CONTROVERSIAL: 3, Severity.UNSAFE: 2}


def counts(per_s: float, seconds: int) -> Iterator[int]:
    """Whole messages of each second."""
    owed = 0.0
    for _ in range(seconds):
        owed += per_s
        yield int(owed)
        owed -= int(owed)


def alarms(
    breaker: Breaker, seconds: int, ordinary: float, letters: Mapping[Reason, float], *, begin_s: int = 0
) -> list[Alarm]:
    """What the breaker says while a raid goes on beside ordinary messages, which are judged."""
    found = []
    raid = {reason: counts(per_s, seconds) for reason, per_s in letters.items()}
    for second, calm in enumerate(counts(ordinary, seconds), begin_s):
        dead = {reason: count for reason, each in raid.items() if (count := next(each))}
        said = [
            breaker.observe(second, admitted=calm, letters=dead),
            breaker.observe(second, severities={SAFE: calm} if calm else {}, judge=OLD if calm else ""),
        ]
        found += [alarm for alarm in said if alarm is not None]
    return found


def test_every_reason_has_a_weight_and_only_a_broken_contract_counts_as_bad_input() -> None:
    assert set(WEIGHT_OF) == set(Reason)
    for reason, weight in WEIGHT_OF.items():
        before_the_guard = STAGE_OF[reason] in (Stage.DECODE, Stage.VALIDATE)
        assert before_the_guard or weight is not Weight.INPUT
        assert not before_the_guard or weight in (Weight.INPUT, Weight.NEVER)


@pytest.mark.parametrize(("reason", "rates"), list(product(RAIDABLE, RATES)))
def test_a_raid_of_any_size_opens_nothing(reason: Reason, rates: tuple[float, float]) -> None:
    ordinary, raid = rates
    breaker = Breaker(RULES)
    breaker.observe(0.0, severities={SAFE: 1}, judge=OLD)

    assert alarms(breaker, RAID_S if raid < 1_000 else 60, ordinary, {reason: raid}, begin_s=1) == []
    assert not breaker.is_open


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 1.0])
def test_a_raid_of_unsafe_messages_only_warns(share: float) -> None:
    breaker = Breaker(RULES)
    for second in range(1_000):
        breaker.observe(second, severities=CALM, judge=OLD)
    found = []
    for second in range(1_000, 3_000):
        mix = Counter({label: round(count * (1 - share)) for label, count in CALM.items()})
        mix[Severity.UNSAFE] += round(100 * share)
        found.append(breaker.observe(second, severities=mix, judge=OLD))

    (alarm,) = [alarm for alarm in found if alarm is not None]
    assert (alarm.cause, alarm.opens) == (Cause.VERDICT_DRIFT, False)
    assert not breaker.is_open


@pytest.mark.parametrize("policy", ["same", "new"])
def test_the_same_mix_after_a_change_of_ours_opens_it(policy: str) -> None:
    """Another model, or the same one under another policy in the worker that came after a deploy."""
    before = Breaker(RULES, "same")
    for second in range(1_000):
        before.observe(second, severities=CALM, judge=OLD)
    after = Breaker(RULES, policy)
    assert after.restore([before.baseline()])
    judge = NEW if policy == "same" else OLD
    found = [after.observe(second, severities={SAFE: 60, Severity.UNSAFE: 40}, judge=judge) for second in range(200)]

    (alarm,) = [alarm for alarm in found if alarm is not None]
    assert (alarm.cause, alarm.opens) == (Cause.VERDICT_DRIFT, True)


def test_a_worker_that_is_only_started_anew_is_no_change() -> None:
    before, after = Breaker(RULES, "policy"), Breaker(RULES, "policy")
    for second in range(1_000):
        before.observe(second, severities=CALM, judge=OLD)
    after.restore([before.baseline()])
    for second in range(1_000):
        after.observe(second, severities={SAFE: 60, Severity.UNSAFE: 40}, judge=OLD)
        after.observe(second, letters={Reason.UNPARSABLE_OUTPUT: 100}, judge=OLD)

    assert not after.is_open


def test_a_change_that_is_long_past_is_no_cause_any_more() -> None:
    breaker = Breaker(RULES)
    breaker.observe(0.0, severities={SAFE: 1}, judge=OLD)
    for second in range(1, 4 * int(RULES.window_s), 10):
        breaker.observe(second, severities=CALM, judge=NEW)
    now = 4 * int(RULES.window_s)
    for second in range(now, now + 600):
        breaker.observe(second, severities={Severity.UNSAFE: 100}, judge=NEW)
        breaker.observe(second, letters={Reason.UNPARSABLE_OUTPUT: 1_000}, judge=NEW)

    assert not breaker.is_open
    assert breaker.view(now + 600).warning is not None


@pytest.mark.parametrize("reason", [reason for reason in Reason if WEIGHT_OF[reason] is Weight.AFTER_CHANGE])
def test_a_model_that_has_never_given_a_verdict_is_stopped(reason: Reason) -> None:
    first, deployed = Breaker(RULES), Breaker(RULES)
    deployed.observe(0.0, severities={SAFE: 1_000}, judge=OLD)
    for second in range(10):
        first.observe(second, letters={reason: 100}, judge=OLD)
        deployed.observe(second, letters={reason: 100}, judge=NEW)

    assert first.is_open
    assert deployed.is_open


def test_what_no_text_can_cause_stops_at_any_time() -> None:
    broken, contract = Breaker(RULES), Breaker(RULES)
    for second in range(2_000):
        broken.observe(second, severities={SAFE: 10}, judge=OLD)
        contract.observe(second, severities={SAFE: 10}, judge=OLD)
    for second in range(2_000, 2_100):
        broken.observe(second, letters={Reason.NON_FINITE_LOGITS: 100}, judge=OLD)
        contract.observe(second, letters={Reason.INVALID_JSON: 100})

    assert broken.view(0.0).cause in (Cause.FAILURE_RATIO, Cause.CONSECUTIVE_FAILURES)
    assert contract.view(0.0).cause in (Cause.INPUT_ERROR_RATIO, Cause.CONSECUTIVE_INPUT_ERRORS)


def test_drift_that_is_set_to_warn_never_opens() -> None:
    breaker = Breaker(BreakerRules(drift_action="warn"))
    for second in range(1_000):
        breaker.observe(second, severities=CALM, judge=OLD)
    for second in range(1_000, 1_300):
        breaker.observe(second, severities={Severity.UNSAFE: 100}, judge=NEW)

    assert not breaker.is_open
    assert breaker.view(1_300).warning is not None
