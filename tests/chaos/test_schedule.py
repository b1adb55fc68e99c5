"""Plans: the same seed draws the same storm and the same load, and another seed another one."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from tests.chaos.load import Mix, draw_events
from tests.chaos.schedule import GENTLE, GUARD, LASTING, NETWORK, ROUGH, SERVERS, Action, draw_schedule, told

SEEDS = range(200)
RECORDED = [
    "   0.61 s  answers are lost for 3.04 s",
    "   1.80 s  worker is killed",
    "   3.46 s  burst of records",
    "   5.20 s  worker is killed",
    "   5.60 s  worker is killed",
    "   6.37 s  guard is down for 1.24 s",
    "   6.81 s  server is killed for 4.05 s",
    "   7.56 s  worker is killed",
]


def test_the_same_seed_draws_the_same_storm() -> None:
    assert all(draw_schedule(seed, 60, ROUGH) == draw_schedule(seed, 60, ROUGH) for seed in SEEDS)
    assert len({draw_schedule(seed, 60, ROUGH) for seed in SEEDS}) == len(SEEDS)


def test_a_storm_of_a_seed_is_the_one_that_was_recorded() -> None:
    assert told(1, draw_schedule(1, 8, ROUGH)).splitlines()[1:] == RECORDED


def test_the_same_seed_draws_the_same_load() -> None:
    mix = Mix(bad=0.2, raising=0.1, keyless=0.1)
    assert draw_events(Random(5), 300, mix) == draw_events(Random(5), 300, mix)
    assert draw_events(Random(5), 300, mix) != draw_events(Random(6), 300, mix)


def test_every_action_is_drawn_sooner_or_later() -> None:
    drawn = {step.action for seed in SEEDS for step in draw_schedule(seed, 60, ROUGH)}
    assert drawn == set(Action)


def test_a_gentle_storm_kills_nobody() -> None:
    drawn = {step.action for seed in SEEDS for step in draw_schedule(seed, 60, GENTLE)}
    assert drawn == set(GENTLE)
    assert not drawn & {Action.KILL, Action.FREEZE, *SERVERS}


@pytest.mark.parametrize("group", [NETWORK, SERVERS, GUARD], ids=["network", "servers", "guard"])
def test_only_one_fault_of_a_group_at_a_time(group: frozenset[Action]) -> None:
    for seed in SEEDS:
        of_group = [step for step in draw_schedule(seed, 60, ROUGH) if step.action in group]
        assert all(a.at_s + a.lasts_s <= b.at_s for a, b in pairwise(of_group)), seed


def test_what_lasts_has_an_end_and_the_rest_has_none() -> None:
    steps = [step for seed in SEEDS for step in draw_schedule(seed, 60, ROUGH)]
    assert {step.lasts_s > 0 for step in steps if step.action in LASTING} == {True}
    assert {step.lasts_s for step in steps if step.action not in LASTING} == {0.0}
