"""Networks that are slow, cut, silent and rude: on the way of all workers to all servers (P5)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos.arena import SESSION_S, Arena
from tests.chaos.conftest import AT_LEAST_ONCE_ONLY, NewArena
from tests.chaos.load import Mix
from tests.chaos.site import SHARED, Site
from tests.chaos.waiting import wait_until

SLOW = Mix(slow_ms=200)


def busy(new_arena: NewArena, seed: int, **kafka: int) -> Arena:
    """Two workers with work in flight, whose guard waits for `go_on`."""
    arena = new_arena(seed=seed)
    workers = arena.start_members(2, kafka=kafka)
    arena.fleet.set_guard_stalled(True)
    arena.produce(200, SLOW)
    wait_until(lambda: min(worker.report.in_flight for worker in workers) > 0, "both to have work in flight")
    return arena


def go_on(arena: Arena) -> None:
    """Let the guard answer."""
    arena.fleet.set_guard_stalled(False)


def wait_for_silence(arena: Arena, seconds: float) -> None:
    """Let the group see nothing of its members for so long: as seen, and not as slept."""
    seen = len(arena.timeline.samples)
    started = arena.timeline.samples[-1].at

    def is_over() -> bool:
        return len(arena.timeline.samples) > seen and arena.timeline.samples[-1].at - started > seconds

    wait_until(is_over, f"{seconds:.0f} s to pass")


def test_latency_of_50_ms_and_1_mbit_slow_the_work_and_harm_nothing(new_arena: NewArena) -> None:
    arena = busy(new_arena, 301)
    arena.site.slow(SHARED, latency_ms=50, kilobytes_per_s=125)
    go_on(arena)
    arena.produce(300)
    arena.start()
    arena.settle()
    assert arena.stop_all() == [0, 0, 0]
    arena.check_closed(duplicates=False)


def test_connections_reset_again_and_again(new_arena: NewArena) -> None:
    arena = busy(new_arena, 302)
    go_on(arena)
    for _ in range(4):
        before = arena.fleet.completed
        arena.site.reset_connections(SHARED)
        wait_for_silence(arena, 0.5)
        arena.site.cure(SHARED)
        arena.produce(60, SLOW)
        wait_until(lambda: arena.fleet.completed > before + 20, "work to go on")  # noqa: B023
    arena.settle()
    arena.check_closed(duplicates=False)


@pytest.mark.parametrize("seconds", [2.0, SESSION_S + 4])
def test_half_open_connections(new_arena: NewArena, seconds: float) -> None:
    arena = busy(new_arena, 303)
    arena.site.stall(SHARED)
    go_on(arena)
    arena.produce(100)
    wait_for_silence(arena, seconds)
    arena.check_not_ahead()
    arena.site.cure(SHARED)
    arena.settle()
    arena.check_closed(duplicates=seconds > SESSION_S)


def test_connections_closed_slowly(new_arena: NewArena) -> None:
    arena = busy(new_arena, 304)
    arena.site.slow_close(SHARED, delay_ms=2000)
    go_on(arena)
    arena.produce(100)
    assert arena.fleet.workers[0].stop() == 0
    arena.settle()
    arena.site.cut(SHARED)
    arena.produce(100)
    arena.settle()
    arena.check_closed(duplicates=False)


@pytest.mark.ci
def test_produce_with_unknown_outcome(new_arena: NewArena) -> None:
    arena = busy(new_arena, 305, session_timeout_ms=45_000)  # nobody is expelled for it
    go_on(arena)
    arena.settle()  # so that producers are connected and known to the brokers
    arena.fleet.set_guard_stalled(True)
    arena.produce(200, SLOW)
    arena.site.swallow_answers(SHARED)
    before = len(arena.verdicts())
    go_on(arena)
    if not arena.is_once:  # where no answer comes, a transaction gets no further than its first request
        wait_until(lambda: len(arena.verdicts()) > before, "requests to arrive unanswered")
    wait_for_silence(arena, 3.0)
    arena.site.cut(SHARED)
    arena.produce(100)
    arena.settle()
    arena.check_closed(duplicates=False)  # the same producer sends them again, and the broker knows them


CUTS: dict[str, Callable[[Site], None]] = {
    "down": lambda site: site.down(SHARED),
    "swallowed": lambda site: site.swallow_answers(SHARED),
}


@pytest.mark.parametrize("cut", ["down", pytest.param("swallowed", marks=pytest.mark.ci)])
def test_no_network_for_longer_than_the_session(new_arena: NewArena, cut: str) -> None:
    arena = busy(new_arena, 306)
    CUTS[cut](arena.site)
    go_on(arena)
    wait_until(lambda: not arena.view.members()[1], "the coordinator to expel all")
    arena.produce(100)
    arena.check_not_ahead()
    assert [worker.report.stuck for worker in arena.fleet.running] == [None, None]
    arena.site.cut(SHARED)
    arena.settle()
    found = arena.check_closed(duplicates=True)
    assert found.letters == sum(event.is_refused for event in arena.load.sent.values()), "dead-lettered for it"


def test_worker_that_starts_while_connections_to_some_servers_are_reset(new_arena: NewArena) -> None:
    arena = new_arena(seed=307)
    arena.produce(50)
    arena.site.reset_connections(SHARED, brokers=(0, 1))
    for _ in range(5):
        arena.start()
    wait_for_silence(arena, 3.0)
    assert [worker.exit_code for worker in arena.fleet.workers] == [None] * 5
    arena.site.cure(SHARED)
    arena.settle()
    arena.check_closed(duplicates=False)


def test_worker_that_starts_while_no_server_can_be_reached(new_arena: NewArena) -> None:
    arena = new_arena(seed=309)
    arena.produce(50)
    arena.site.down(SHARED)
    stays, leaves = arena.start(), arena.start()
    wait_until(lambda: all("start_held" in w.log.read_text() for w in (stays, leaves)), "both to hold")
    assert leaves.stop() == 0
    assert stays.exit_code is None
    arena.site.cut(SHARED)
    arena.settle()
    arena.check_closed(duplicates=False)


@AT_LEAST_ONCE_ONLY
def test_network_without_answers_does_not_grow_a_worker(new_arena: NewArena) -> None:
    arena = busy(new_arena, 308)
    arena.site.swallow_answers(SHARED)
    go_on(arena)
    before = {worker.name: worker.report.resident_kb for worker in arena.fleet.running}
    wait_for_silence(arena, 20.0)
    grown = {worker.name: worker.report.resident_kb - before[worker.name] for worker in arena.fleet.running}
    arena.site.cut(SHARED)
    arena.settle()
    arena.check_closed(duplicates=True)
    assert max(grown.values()) < 60_000, grown
