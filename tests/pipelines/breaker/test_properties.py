"""Properties of the breaker: enough evidence before it opens, as new after a reset, a window of the size asked for."""

from collections import deque
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.breaker.alarms import Cause
from pipelines.breaker.breaker import Breaker, DeadLetterWindow
from pipelines.breaker.causes import WEIGHT_OF, Weight
from schemas.reasons import Reason
from tests.pipelines.breaker.breaker_rules import DEFAULTS, NOT_FINITE, NOT_JSON, SAFE, SMALL

LETTERS = st.dictionaries(st.sampled_from(Reason), st.integers(1, 8), max_size=3)
Batches = list[tuple[float, int, int, dict[Reason, int]]]
BATCHES = st.lists(st.tuples(st.floats(0, 5), st.integers(0, 30), st.integers(0, 30), LETTERS), max_size=80)


@given(BATCHES)
def test_it_never_opens_before_there_is_enough_evidence(
    batches: Batches,
) -> None:
    breaker = Breaker(SMALL)
    now = 0.0
    judged = taken = failed = refused = 0
    for wait, admitted, verdicts, letters in batches:
        now += wait
        bad = sum(count for reason, count in letters.items() if WEIGHT_OF[reason] is Weight.INPUT)
        ours = sum(
            count for reason, count in letters.items() if WEIGHT_OF[reason] in (Weight.FAILURE, Weight.AFTER_CHANGE)
        )
        taken += admitted + bad
        judged += verdicts + ours
        failed += ours
        refused += bad
        alarm = breaker.observe(now, admitted=admitted, severities={SAFE: verdicts}, letters=letters)
        if alarm is None:
            continue
        enough = {
            Cause.FAILURE_RATIO: judged >= SMALL.failure_min_records and failed >= 20,
            Cause.CONSECUTIVE_FAILURES: failed >= SMALL.consecutive_failures,
            Cause.INPUT_ERROR_RATIO: taken >= SMALL.input_error_min_records and refused >= 25,
            Cause.CONSECUTIVE_INPUT_ERRORS: refused >= SMALL.consecutive_input_errors,
        }
        assert enough[alarm.cause]
        assert breaker.is_open
        break
    else:
        assert not breaker.is_open


@given(BATCHES, BATCHES)
def test_after_a_reset_it_is_as_new(first: Batches, second: Batches) -> None:
    used, new = Breaker(SMALL), Breaker(SMALL)
    for wait, admitted, verdicts, letters in first:
        used.observe(wait, admitted=admitted, severities={SAFE: verdicts}, letters=letters)
    used.reset()
    now = 10.0
    for wait, admitted, verdicts, letters in second:
        now += wait
        alarms = [
            breaker.observe(now, admitted=admitted, severities={SAFE: verdicts}, letters=letters)
            for breaker in (used, new)
        ]
        assert alarms[0] == alarms[1]
    assert used.view(now) == new.view(now)


@given(BATCHES)
def test_the_window_is_a_run_of_last_batches_of_about_the_size_asked_for(
    batches: Batches,
) -> None:
    window = DeadLetterWindow(200, 60.0)
    seen: deque[tuple[float, int, int]] = deque()
    now = 0.0
    for wait, passed, _, letters in batches:
        now += wait
        window.add(now, passed, letters)
        seen.append((now, passed + sum(letters.values()), sum(letters.values())))

        suffixes = list(_sums(seen))
        assert (window.records, window.letters.total()) in [(records, dead) for _, records, dead in suffixes]
        assert min(window.letters.values(), default=1) > 0
        largest = max(records for _, records, _ in seen)
        assert window.records < 200 + 200 / 32 + 2 * largest
        recent = sum(records for at, records, _ in seen if now - at <= 60.0 - 60.0 / 32)
        assert window.records >= min(200, recent)
        old = [at for at, records, _ in suffixes if records == window.records]
        assert min(now - at for at in old) <= 60.0


def _sums(seen: deque[tuple[float, int, int]]) -> Iterator[tuple[float, int, int]]:
    """Start, records and dead letters of every run of last batches, the empty one too."""
    yield float("inf"), 0, 0
    records = dead = 0
    for at, some, letters in reversed(seen):
        records, dead = records + some, dead + letters
        yield at, records, dead


@pytest.mark.parametrize("seed", range(3))
def test_steady_dead_letters_below_the_limit_never_open_it(seed: int) -> None:
    """300,000 records, a third of them bad input and a tenth of the others failures, in batches of any size."""
    rng = Random(seed)
    breaker = Breaker(DEFAULTS)
    done, now = 0, 0.0
    while done < 300_000:
        size = rng.choice((1, 7, 64, 500))
        now += size / 1000
        bad = sum(rng.random() < 1 / 3 for _ in range(size))
        failed = sum(rng.random() < 0.1 for _ in range(size - bad))
        breaker.observe(now, admitted=size - bad, letters={NOT_JSON: bad} if bad else {})
        breaker.observe(now, severities={SAFE: size - bad - failed}, letters={NOT_FINITE: failed} if failed else {})
        done += size

    assert not breaker.is_open, breaker.reason
    assert 800 <= breaker.view(now).failures.dead_letters <= 1200
