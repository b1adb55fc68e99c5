"""The mix of verdicts: chance never counts as drift, a bad deploy does, and the baseline outlives the worker."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.breaker.alarms import Alarm, Cause
from pipelines.breaker.breaker import Breaker, VerdictSlices
from pipelines.breaker.drift import Drift, VerdictMix
from pipelines.breaker.rules import BreakerRules
from schemas.verdict import Severity

DEFAULTS = BreakerRules()
CHUNK = 64
BEFORE, AFTER = (0.95, 0.03, 0.02), (0.77, 0.03, 0.20)  # Safe, Controversial, Unsafe
SLICE = 1 / 16
SMALL = {
    "drift_window_records": 2_000,
    "drift_window_s": 2.0,
    "drift_baseline_records": 4_000,
    "drift_baseline_half_life_s": 1e9,
}


class Traffic:
    """Verdicts at a steady pace, shown to a breaker in chunks.

    Args:
        breaker: who is shown them.
        per_s: verdicts a second.
        seed: of their order.
    """

    def __init__(self, breaker: Breaker, per_s: float, seed: int) -> None:
        self._breaker = breaker
        self._per_s = per_s
        self._rng = Random(seed)
        self.now_s = 0.0
        self.judge = "the old model"

    def show(self, mixes: Iterator[Sequence[float]], count: int) -> tuple[int, Alarm | None]:
        """Show `count` verdicts, each chunk of the next mix; ends at an alarm. Returns how many were shown."""
        shown = 0
        for mix in islice(mixes, math.ceil(count / CHUNK)):
            shown += CHUNK
            self.now_s += CHUNK / self._per_s
            verdicts = Counter(self._rng.choices(tuple(Severity), mix, k=CHUNK))
            if (alarm := self._breaker.observe(self.now_s, severities=verdicts, judge=self.judge)) is not None:
                return shown, alarm
        return shown, None


@pytest.mark.parametrize(("per_s", "seed"), [(50, 1), (1_000, 2), (20_000, 3)])
def test_a_million_steady_verdicts_open_nothing(per_s: float, seed: int) -> None:
    shown, alarm = Traffic(Breaker(DEFAULTS), per_s, seed).show(cycle([BEFORE]), 1_000_000)

    assert (shown, alarm) == (1_000_000, None)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_allowed_to_chance_is_enough_for_a_million_steady_verdicts(seed: int) -> None:
    """Any distance beyond chance would do, the windows are small, and an even mix strays most."""
    breaker = Breaker(BreakerRules(**SMALL, drift_distance=1e-9))

    assert Traffic(breaker, 1_000, seed).show(cycle([(1 / 3, 1 / 3, 1 / 3)]), 1_000_000)[1] is None


def test_tenants_that_come_in_turns_of_a_fetch_open_nothing() -> None:
    """Four partitions, each of a tenant with a mix of its own; fetches bring 3,500 records of one at a time."""
    unsafe = [0.005, 0.01, 0.03, 0.40]
    mixes = [(0.97 - share, 0.03, share) for share in unsafe for _ in range(54)]
    breaker = Breaker(DEFAULTS)
    traffic = Traffic(breaker, 5_000, 4)

    assert len(mixes) * CHUNK / len(unsafe) == pytest.approx(3_500, rel=0.02)
    assert traffic.show(cycle(mixes), 2_000_000)[1] is None
    assert breaker.view(traffic.now_s).drift is not None


def test_a_day_whose_mix_swings_slowly_opens_nothing() -> None:
    """Unsafe between 1 % at noon and 9 % at midnight, four days at ten verdicts a second."""
    count = 4 * 86_400 * 10
    mixes = (
        (0.97 - share, 0.03, share)
        for step in range(count // CHUNK)
        for share in [0.05 + 0.04 * math.sin(2 * math.pi * step * CHUNK / 10 / 86_400)]
    )

    assert Traffic(Breaker(DEFAULTS), 10, 5).show(mixes, count)[1] is None


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("per_s", [20, 150])
def test_a_deploy_that_makes_a_fifth_unsafe_opens_it_within_a_window(per_s: float, seed: int) -> None:
    breaker = Breaker(DEFAULTS)
    traffic = Traffic(breaker, per_s, seed)
    assert traffic.show(cycle([BEFORE]), 200_000)[1] is None
    traffic.judge = "the new model"

    shown, alarm = traffic.show(cycle([AFTER]), 100_000)

    assert alarm is not None
    assert (alarm.cause, alarm.opens, breaker.is_open) == (Cause.VERDICT_DRIFT, True, True)
    assert shown <= DEFAULTS.drift_window_records * (1 + 2 * SLICE)
    assert "away from their baseline (limit 0.1 and 0.0" in alarm.reason
    assert "Unsafe 0.020 to 0.1" in alarm.reason


def test_at_a_high_rate_it_opens_within_the_windows_seconds() -> None:
    traffic = Traffic(Breaker(DEFAULTS), 5_000, 6)
    assert traffic.show(cycle([BEFORE]), 2_000_000)[1] is None  # what a baseline needs of time: ten windows
    started = traffic.now_s

    assert traffic.show(cycle([AFTER]), 1_000_000)[1] is not None
    assert traffic.now_s - started <= DEFAULTS.drift_window_s * (1 + 2 * SLICE)


def test_a_model_that_finds_all_safe_opens_it_too() -> None:
    """The other direction: nothing is caught any more."""
    traffic = Traffic(Breaker(DEFAULTS), 100, 7)
    assert traffic.show(cycle([(0.7, 0.1, 0.2)]), 100_000)[1] is None

    assert traffic.show(cycle([(1.0, 0.0, 0.0)]), 10_000)[1] is not None


def test_set_to_warn_it_says_so_once_opens_nothing_and_ends_with_the_drift() -> None:
    breaker = Breaker(BreakerRules(drift_action="warn"))
    traffic = Traffic(breaker, 100, 8)
    assert traffic.show(cycle([BEFORE]), 200_000)[1] is None
    _, alarm = traffic.show(cycle([AFTER]), 10_000)

    assert alarm is not None
    assert not alarm.opens
    assert not breaker.is_open
    assert breaker.reason is None
    assert breaker.view(traffic.now_s).warning == alarm.reason
    assert traffic.show(cycle([AFTER]), 3_000)[1] is None
    assert breaker.view(traffic.now_s).warning == alarm.reason
    assert traffic.show(cycle([BEFORE]), 10_000)[1] is None
    assert breaker.view(traffic.now_s).warning is None


def test_switched_off_drift_is_not_looked_at() -> None:
    breaker = Breaker(BreakerRules(**SMALL, drift_action="off"))
    traffic = Traffic(breaker, 1_000, 9)

    assert traffic.show(cycle([BEFORE]), 100_000)[1] is None
    assert traffic.show(cycle([(0, 0, 1)]), 100_000)[1] is None
    assert breaker.view(traffic.now_s).drift is None


def test_after_a_reset_the_new_mix_is_what_the_baseline_begins_with() -> None:
    breaker = Breaker(BreakerRules(**SMALL))
    traffic = Traffic(breaker, 1_000, 10)
    traffic.show(cycle([BEFORE]), 100_000)
    assert traffic.show(cycle([AFTER]), 100_000)[1] is not None
    breaker.reset()

    assert breaker.baseline() == ""
    assert traffic.show(cycle([AFTER]), 100_000)[1] is None
    drift = breaker.view(traffic.now_s).drift
    assert drift is not None
    assert drift.baseline[Severity.UNSAFE] == pytest.approx(0.2, abs=0.01)


def test_a_worker_started_by_the_deploy_compares_with_what_was_before_it() -> None:
    old, new = Breaker(DEFAULTS), Breaker(DEFAULTS)
    Traffic(old, 1_000, 11).show(cycle([BEFORE]), 500_000)

    assert len(old.baseline()) < 100
    assert new.restore(["", old.baseline(), old.baseline()])
    shown, alarm = Traffic(new, 100, 12).show(cycle([AFTER]), 100_000)
    assert alarm is not None
    assert alarm.cause is Cause.VERDICT_DRIFT
    assert shown <= DEFAULTS.drift_window_records * (1 + 2 * SLICE) + CHUNK


def test_the_baseline_of_several_is_their_mean_and_comes_too_late_once_verdicts_have_come() -> None:
    fed, late = Fed(10, 1.0, 100, 1e9), Breaker(DEFAULTS)
    late.observe(0.0, severities={Severity.SAFE: 1})
    texts = [json.dumps({"weir_mix": [90, 10, 0]}), json.dumps({"weir_mix": [100, 0, 100.0]})]

    assert fed.mix.restore(texts)
    assert not late.restore([json.dumps({"weir_mix": [1e9, 0, 0]})])
    fed.add(0.0, {Severity.SAFE: 10})
    fed.add(1.0, {Severity.SAFE: 10})
    fed.add(2.0, {Severity.SAFE: 10})
    drift = fed.mix.measure()
    assert drift is not None
    assert drift.baseline == pytest.approx(
        {Severity.SAFE: 95 / 150, Severity.CONTROVERSIAL: 5 / 150, "Unsafe": 50 / 150}
    )


def test_recent_are_enough_verdicts_and_enough_seconds_whichever_is_more() -> None:
    many, few = Fed(100, 10.0, 100, 1e9), Fed(100, 10.0, 100, 1e9)
    for second in range(300):
        many.add(second, {Severity.SAFE: 1_000})
        few.add(second, {Severity.SAFE: 1})

    drift = many.mix.measure()
    assert drift is not None
    assert 10_000 <= drift.records <= 12_000
    drift = few.mix.measure()
    assert drift is not None
    assert 100 <= drift.records <= 110


class Fed:
    """A mix, and what gathers verdicts for it."""

    def __init__(self, window_records: int, window_s: float, baseline_records: int, half_life_s: float) -> None:
        self.mix = VerdictMix(window_records, window_s, baseline_records, half_life_s)
        self._slices = VerdictSlices(window_records, window_s)

    def add(self, now_s: float, severities: Mapping[Severity, int]) -> None:
        """Gather verdicts, and hand them on once there are enough."""
        if (full := self._slices.add(now_s, severities)) is not None:
            self.mix.take(full, now_s)


FOREIGN = [
    "",
    "weir_mix",
    '"weir_mix"',
    '["weir_mix"]',
    '{"weir_mix":null}',
    '{"weir_mix":[1e9,1e9]}',
    '{"weir_mix":[1e9,1e9,-1]}',
    '{"weir_mix":[1e9,1e9,NaN]}',
    '{"weir_mix":[1e9,1e9,Infinity]}',
    '{"weir_mix":[1e9,1e9,1e300]}',
    '{"weir_mix":[1e9,1e9,true]}',
    '{"weir_mix":[1e9,1e9,"1"]}',
    '{"weir_mix":[1,1,1]}',
    '{"weir_mix":[1e9,1e9,1e9]}' + " " * 300,
    "[" * 240 + "weir_mix",
    "\udcff\x00weir_mix",
]


@pytest.mark.parametrize("text", FOREIGN)
def test_foreign_bytes_where_the_baseline_is_kept_are_left_out(text: str) -> None:
    assert not VerdictMix(10, 1.0, 100, 1e9).restore([text])


@given(st.lists(st.text(max_size=300)))
def test_no_text_of_others_stops_a_start(texts: list[str]) -> None:
    assert not VerdictMix(10, 1.0, 100, 1e9).restore(texts)


# -- for all inputs ----------------------------------------------------------------------------------------------------

VERDICTS = st.dictionaries(st.sampled_from(Severity), st.integers(0, 60))


@given(st.lists(st.tuples(st.floats(0, 30), VERDICTS), max_size=120))
def test_a_measure_has_enough_behind_it_and_is_a_distance(batches: list[tuple[float, dict[Severity, int]]]) -> None:
    fed = Fed(100, 10.0, 200, 3_600.0)
    now = 0.0
    seen: Counter[Severity] = Counter()
    for wait, severities in batches:
        now += wait
        seen.update(severities)
        fed.add(now, severities)
        drift = fed.mix.measure()
        if drift is None:
            continue
        assert drift.records >= 100
        assert seen.total() >= 100 + 200
        assert now >= 100.0
        assert 0 <= drift.distance <= 1
        assert drift.chance > 0
        for shares in (drift.recent, drift.baseline):
            assert sum(shares.values()) == pytest.approx(1)


@given(st.lists(st.tuples(st.floats(0.1, 30), VERDICTS), max_size=120))
def test_the_verdicts_of_one_label_are_never_away_from_themselves(
    batches: list[tuple[float, dict[Severity, int]]],
) -> None:
    fed = Fed(100, 10.0, 200, 3_600.0)
    now = 0.0
    for wait, severities in batches:
        now += wait
        fed.add(now, {Severity.UNSAFE: sum(severities.values())})
        drift: Drift | None = fed.mix.measure()
        assert drift is None or drift.distance == 0
