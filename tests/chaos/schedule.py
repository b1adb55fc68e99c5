"""What happens in a storm and when: a pure function of the seed.

Says nothing of how a step is done; `conductor` does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from random import Random
from typing import NamedTuple


class Action(StrEnum):
    """What may happen. Those of `LASTING` end by themselves."""

    BURST = "burst of records"
    JOIN = "worker joins"
    LEAVE = "worker is told to leave"
    KILL = "worker is killed"
    FREEZE = "worker is frozen"
    SERVER_KILL = "server is killed"
    SERVER_FREEZE = "server is frozen"
    LEADERS = "leaders move"
    SLOW = "network is slow"
    STALL = "network is silent"
    RESET = "connections are reset"
    SWALLOW = "answers are lost"
    CUT = "connections are cut"
    GUARD_DOWN = "guard is down"
    GUARD_STALL = "guard is stalled"


# One at a time of each group, so that what is drawn is what happens: two servers of three are needed.
NETWORK = frozenset({Action.SLOW, Action.STALL, Action.RESET, Action.SWALLOW})
SERVERS = frozenset({Action.SERVER_KILL, Action.SERVER_FREEZE})
GUARD = frozenset({Action.GUARD_DOWN, Action.GUARD_STALL})
GROUPS = (NETWORK, SERVERS, GUARD)
LASTING = NETWORK | SERVERS | GUARD | {Action.FREEZE}
SHORTEST_S, LONGEST_S = 1.0, 9.0
GAP_S = (0.4, 2.0)
BURST = (20, 80)

Menu = Mapping[Action, int]
# Nobody dies: what is published twice is an error of ours.
GENTLE: Menu = {
    Action.BURST: 6,
    Action.JOIN: 4,
    Action.LEAVE: 4,
    Action.LEADERS: 2,
    Action.SLOW: 1,
    Action.GUARD_DOWN: 1,
}
ROUGH: Menu = dict.fromkeys(Action, 2) | {Action.BURST: 8, Action.JOIN: 6, Action.KILL: 3}


class Step(NamedTuple):
    """One thing that happens.

    Attributes:
        at_s: seconds after the storm began.
        pick: chooses the victim among those that are there then.
        lasts_s: 0 for what does not last.
        size: records of a burst.
    """

    at_s: float
    action: Action
    pick: int
    lasts_s: float
    size: int


def draw_schedule(seed: int, seconds: float, menu: Menu) -> tuple[Step, ...]:
    """The steps of a storm of that length."""
    random = Random(seed)
    steps: list[Step] = []
    busy_until = dict.fromkeys(GROUPS, 0.0)
    at_s = 0.0
    while (at_s := round(at_s + random.uniform(*GAP_S), 2)) < seconds:
        action = random.choices(list(menu), list(menu.values()))[0]
        pick, size = random.randrange(1000), random.randint(*BURST)
        lasts_s = round(random.uniform(SHORTEST_S, LONGEST_S), 2) if action in LASTING else 0.0
        group = next((group for group in busy_until if action in group), None)
        if group is not None and at_s < busy_until[group]:
            action, lasts_s = Action.BURST, 0.0
        elif group is not None:
            busy_until[group] = at_s + lasts_s
        steps.append(Step(at_s, action, pick, lasts_s, size))
    return tuple(steps)


def told(seed: int, steps: tuple[Step, ...]) -> str:
    """A schedule to read, and how to see it again."""
    lines = [f"{step.at_s:7.2f} s  {step.action}{f' for {step.lasts_s} s' if step.lasts_s else ''}" for step in steps]
    return "\n".join([f"storm of seed {seed}", *lines])
