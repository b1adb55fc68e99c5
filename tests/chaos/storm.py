"""One storm from its seed to its verdict: produce, break, mend, keep still, check."""

from __future__ import annotations

import sys

from tests.chaos.arena import Arena
from tests.chaos.conductor import MIX, Conductor, calm_bound_s
from tests.chaos.oracle import Account
from tests.chaos.schedule import GENTLE, Menu, draw_schedule, told


def weather(arena: Arena, seconds: float, menu: Menu) -> Account:
    """Let a storm pass over an arena; its seed is the arena's. Fails with what does not hold after it."""
    steps = draw_schedule(arena.seed, seconds, menu)
    sys.stdout.write(told(arena.seed, steps) + "\n")
    conductor = Conductor(arena)
    arena.start_members(2)
    arena.produce(100, MIX)
    conductor.storm(steps)
    conductor.quieten()
    arena.check_not_ahead()
    arena.settle(within_s=150, standstill_s=calm_bound_s())
    found = arena.check_closed(duplicates=menu is not GENTLE)
    assert set(arena.stop_all()) == {0}
    return found
