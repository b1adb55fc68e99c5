"""Storms of fixed seeds, each followed by quiet; `python -m tests.chaos` runs any others."""

from __future__ import annotations

import pytest

from tests.chaos.arena import EXACTLY_ONCE
from tests.chaos.conftest import NewArena
from tests.chaos.schedule import GENTLE, ROUGH
from tests.chaos.storm import weather

STORM_S = 25


@pytest.mark.parametrize("seed", [1, 2])
def test_members_join_and_leave_and_nothing_is_published_twice(new_arena: NewArena, seed: int) -> None:
    assert weather(new_arena(seed=seed), STORM_S, GENTLE).verdicts > 100


@pytest.mark.parametrize(
    "seed",
    [12, pytest.param(13, marks=pytest.mark.ci(EXACTLY_ONCE)), 14],
)
def test_everything_at_once(new_arena: NewArena, seed: int) -> None:
    assert weather(new_arena(seed=seed), STORM_S, ROUGH).verdicts > 100
