"""The breaker: opens on too many dead letters, never on too little evidence, and only a person closes it."""

import re
from collections import Counter

from pipelines.breaker.alarms import Alarm, Cause
from pipelines.breaker.breaker import Breaker, counted
from pipelines.breaker.rules import BreakerRules
from schemas.reasons import Reason
from schemas.record import SourceRecord
from tests.pipelines.breaker.breaker_rules import DEFAULTS, NOT_FINITE, NOT_JSON, SAFE, SMALL, UNPARSABLE
from tests.samples.outcomes import letter_of
from tests.samples.verdict import VERDICT_TEXT
from workers.demo.sample import sample_records


def opened(breaker: Breaker) -> Cause | None:
    return breaker.view(0.0).cause


def test_a_share_of_failures_opens_it_and_the_reason_has_the_figures() -> None:
    breaker = Breaker(SMALL)
    alarms = [breaker.observe(float(second), severities={SAFE: 1}, letters={NOT_FINITE: 2}) for second in range(15)]

    assert [alarm for alarm in alarms if alarm is not None] == [alarms[13]]
    assert alarms[13] == Alarm(
        Cause.FAILURE_RATIO,
        "28 of the last 42 judged records are dead letters (0.667, limit 0.5): non_finite_logits 28",
        opens=True,
        at_s=13.0,
    )
    assert breaker.is_open
    assert breaker.reason == f"the breaker is open: failure_ratio: {alarms[13].reason}"


def test_failures_in_a_row_open_it_however_slowly_they_come() -> None:
    breaker = Breaker(SMALL)
    day = 86_400.0
    for number in range(19):
        assert breaker.observe(number * day, letters={NOT_FINITE: 1}) is None

    alarm = breaker.observe(19 * day, letters={NOT_FINITE: 1})

    assert alarm is not None
    assert alarm.cause is Cause.CONSECUTIVE_FAILURES
    assert alarm.reason == "20 dead letters and no verdict (limit 20): non_finite_logits 20"


def test_a_verdict_ends_a_run_of_failures() -> None:
    breaker = Breaker(SMALL)
    for number in range(10):
        breaker.observe(number, letters={NOT_FINITE: 15})
        breaker.observe(number, severities={SAFE: 40})

    assert not breaker.is_open
    assert breaker.view(10.0).failures.consecutive == 0


def test_bad_input_is_counted_apart_and_has_limits_of_its_own() -> None:
    ratio, run = Breaker(SMALL), Breaker(SMALL)
    for number in range(10):
        ratio.observe(number, admitted=4, letters={NOT_JSON: 6})
    run.observe(0.0, letters={NOT_JSON: 29})

    assert (opened(ratio), opened(run)) == (Cause.INPUT_ERROR_RATIO, None)
    assert (
        opened(run) if run.observe(1.0, letters={Reason.MISSING_FIELD: 1}) else None
    ) is Cause.CONSECUTIVE_INPUT_ERRORS
    assert ratio.view(0.0).failures.records == 0


def test_p5_bad_input_goes_on_while_the_guard_is_down_and_opens_nothing() -> None:
    """A tenth of the input is bad, and no verdict comes: who counted letters beside verdicts would see only letters."""
    breaker = Breaker(SMALL)
    for second in range(1000):
        breaker.observe(second, admitted=9, letters={NOT_JSON: 1})

    assert not breaker.is_open


def test_failures_that_are_older_than_the_window_are_forgotten() -> None:
    breaker = Breaker(SMALL)
    for number in range(3):
        breaker.observe(200.0 * number, severities={SAFE: 20})
        breaker.observe(200.0 * number, letters={NOT_FINITE: 15})
    breaker.observe(600.0, severities={SAFE: 1})

    assert not breaker.is_open
    assert breaker.view(600.0).failures == (1, 0, 0, {})


def test_outcomes_are_counted_as_observe_takes_them() -> None:
    record = SourceRecord("chat.events", 0, 1, 0, None, b"{}", ())
    outcomes = [VERDICT_TEXT, letter_of(record, UNPARSABLE, "rule"), VERDICT_TEXT]
    severities, letters = counted(outcomes)

    assert severities == {VERDICT_TEXT.severity: 2}
    assert letters == {UNPARSABLE: 1}


def test_an_open_breaker_counts_nothing_more_and_says_so_once() -> None:
    breaker = Breaker(SMALL)
    breaker.observe(5.0, letters={UNPARSABLE: 20})
    before = breaker.view(5.0)

    assert breaker.observe(6.0, letters={UNPARSABLE: 500}, severities={SAFE: 500}) is None
    assert breaker.view(5.0) == before
    assert breaker.view(65.0).open_s == 60.0


def test_reset_closes_it_and_starts_anew() -> None:
    breaker = Breaker(SMALL)
    alarm = breaker.observe(0.0, letters={UNPARSABLE: 20})

    assert breaker.reset() == alarm
    view = breaker.view(1.0)
    assert (view.state, view.cause, view.reason, view.open_s) == ("closed", None, None, None)
    assert view.failures == view.input_errors == (0, 0, 0, {})
    assert breaker.observe(1.0, letters={UNPARSABLE: 19}) is None
    assert breaker.reset() is None


def test_switched_off_it_never_opens_and_says_that_it_is_off() -> None:
    breaker = Breaker(BreakerRules(enabled=False))

    assert breaker.observe(0.0, letters={UNPARSABLE: 10**6}) is None
    assert not breaker.is_open
    assert breaker.view(0.0).state == "off"


def test_reasons_hold_figures_and_names_only() -> None:
    """P10: what a log or a status shows is closed vocabulary and numbers."""
    breaker = Breaker(SMALL)
    breaker.observe(0.0, letters={UNPARSABLE: 20})
    words = set(re.findall(r"[a-z_]+", breaker.reason or ""))
    ours = {"the", "breaker", "is", "open", "dead", "letters", "and", "no", "verdict", "limit"}

    assert words <= {*Reason, *Cause, *ours}


# -- the defaults ------------------------------------------------------------------------------------------------------


def test_the_demos_sample_never_comes_near_the_defaults() -> None:
    """Some 65 dead letters in 500 records, all at once, or one by one and each reason in a row."""
    expected = Counter(record.expected for record in sample_records())
    failed = Counter({reason: n for reason, n in expected.items() if reason is Reason.UNPARSABLE_OUTPUT})
    refused = Counter({reason: n for reason, n in expected.items() if reason and reason not in failed})
    at_once, one_by_one = Breaker(DEFAULTS), Breaker(DEFAULTS)

    at_once.observe(0.0, admitted=500 - refused.total(), letters=refused)
    at_once.observe(1.0, severities={SAFE: expected[None]}, letters=failed)
    for reason in sorted(expected.elements(), key=str):  # all of a kind in a row
        if reason is None:
            one_by_one.observe(0.0, admitted=1, severities={SAFE: 1})
        else:
            one_by_one.observe(0.0, letters={reason: 1})

    assert refused.total() + failed.total() > 60
    for breaker in (at_once, one_by_one):
        view = breaker.view(2.0)
        assert view.state == "closed"
        assert view.failures.records < DEFAULTS.failure_min_records / 4
        assert view.input_errors.records < DEFAULTS.input_error_min_records / 4


def test_one_broken_gpu_batch_does_not_open_it_by_default_and_two_in_a_row_do() -> None:
    first, later, two = Breaker(DEFAULTS), Breaker(DEFAULTS), Breaker(DEFAULTS)
    bad = {Reason.NON_FINITE_LOGITS: 256}

    first.observe(0.0, letters=bad)
    for second in range(1, 60):
        first.observe(second, severities={SAFE: 64})
        later.observe(second, severities={SAFE: 64})
    later.observe(60.0, letters=bad)
    two.observe(0.0, letters=bad)
    two.observe(1.0, letters=bad)

    assert (opened(first), opened(later)) == (None, None)
    assert opened(two) is Cause.CONSECUTIVE_FAILURES


def test_a_fetch_of_one_tenants_bad_input_does_not_open_it_by_default_and_a_sender_that_lost_its_mind_does() -> None:
    """kafka-python hands out a partition's fetch of 1 MiB, about 3,500 records of 300 bytes, before another's."""
    one_tenant, everybody = Breaker(DEFAULTS), Breaker(DEFAULTS)
    for second in range(40):
        bad = second % 4 == 0
        for _ in range(7):
            one_tenant.observe(second, admitted=0 if bad else 500, letters={NOT_JSON: 500} if bad else {})
    for second in range(20):
        everybody.observe(second, admitted=1, letters={Reason.UNSUPPORTED_VERSION: 499})

    assert opened(one_tenant) is None
    assert opened(everybody) is Cause.INPUT_ERROR_RATIO
