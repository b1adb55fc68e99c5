"""What `weir bench asks` says of ends that are known, and of a lane on a socket."""

import asyncio
from dataclasses import replace

import pytest

from tests.guards.scripted_guard import ScriptedGuard
from tests.workers.ask.ask_site import said
from tests.workers.ask.test_server import run_with
from workers.ask.lane import AskLane
from workers.bench.serving.asks import AskPlan, Ended, figures_of, measured

PLAN = AskPlan(times=(2.0,), items=4, seconds=0.4, rounds=1, deadline_s=1.0, message_ms=None)


def test_figures_are_of_what_came_in_time_without_the_beginning() -> None:
    ended = [
        Ended(0.05, "200", 0.1),
        *(Ended(0.2, "200", seconds) for seconds in (0.1, 0.3, 1.2)),
        *(Ended(0.3, end, 0.002) for end in ("overloaded", "overloaded", "unavailable", "internal")),
        Ended(0.3, "200", 1.4),
    ]
    figures = figures_of(ended, 2.0, 80.0, PLAN)

    assert (figures.goodput, figures.of_capacity) == pytest.approx((40.0, 0.5))
    assert (figures.refused, figures.late, figures.others) == (2, 2, {"internal": 1})
    assert (figures.refusal_p99_ms, figures.offered) == pytest.approx((2.0, 8 * 4 / 0.3))


def test_a_lane_is_asked_more_than_it_can_do() -> None:
    runs: list[tuple[int, int | None]] = []

    async def steps(_: AskLane, port: int) -> None:
        plan = replace(PLAN, seconds=0.1)
        capacity, after, figures = await measured(f"http://127.0.0.1:{port}", plan, lambda *done: runs.append(done))
        assert capacity > 0
        assert after > 0
        assert [row.times for row in figures] == [2.0]
        assert not any(row.others for row in figures)

    run_with(ScriptedGuard(said, lambda _: asyncio.sleep(0.01)), steps)
    assert runs == [(0, 1), (1, 1)]
