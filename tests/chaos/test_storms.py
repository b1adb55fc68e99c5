"""Storms of fixed seeds, each followed by quiet; `python -m tests.chaos` runs any others."""

from __future__ import annotations

import pytest

from tests.chaos.arena import Arena
from tests.chaos.conftest import NewArena
from tests.chaos.schedule import GENTLE, ROUGH, Menu
from tests.chaos.storm import weather


@pytest.mark.parametrize("seed", [1, 2])
def test_members_join_and_leave_and_nothing_is_published_twice(new_arena: NewArena, seed: int) -> None:
    ride_out(new_arena(seed=seed), GENTLE)


@pytest.mark.parametrize("seed", [12, 13, 14])
def test_everything_at_once(new_arena: NewArena, seed: int) -> None:
    ride_out(new_arena(seed=seed), ROUGH)


def ride_out(arena: Arena, menu: Menu) -> None:
    found = weather(arena, 25, menu)
    assert found.verdicts > 100
