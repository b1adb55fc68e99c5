"""Servers that are killed, frozen and deposed, and topics that want more copies than there are."""

from __future__ import annotations

import time

import pytest

from tests.chaos.arena import EXACTLY_ONCE, Arena
from tests.chaos.conftest import NewArena
from tests.chaos.leaders import Leaders
from tests.chaos.load import Mix
from tests.chaos.site import BROKERS
from tests.chaos.waiting import wait_until

SLOW = Mix(slow_ms=200)


def feed_until_more_is_completed(arena: Arena, more: int) -> None:
    wanted = arena.fleet.completed + more
    started = time.monotonic()

    def done() -> bool:
        if len(arena.load.sent) < arena.fleet.completed + 100:
            arena.produce(20, SLOW)
        arena.check_progress(started)
        return arena.fleet.completed >= wanted

    wait_until(done, f"{more} more records to be completed")


@pytest.mark.ci(EXACTLY_ONCE)
def test_leaders_move_while_outcomes_are_published(new_arena: NewArena) -> None:
    arena = new_arena(seed=201)
    leaders = Leaders(arena.site.bootstrap())
    arena.start_members(2)
    for _ in range(BROKERS):
        before = leaders.of_partition(arena.topics["verdicts"])
        arena.produce(150, SLOW)
        leaders.move(arena.topics.values())
        wait_until(lambda: leaders.of_partition(arena.topics["verdicts"]) != before, "all to know")  # noqa: B023
        feed_until_more_is_completed(arena, 50)
    arena.settle()
    arena.check_closed(duplicates=False)


def test_server_killed_that_leads_a_verdict_partition(new_arena: NewArena) -> None:
    arena = new_arena(seed=202)
    leaders = Leaders(arena.site.bootstrap())
    arena.start_members(2)
    for _ in range(2):
        arena.produce(100, SLOW)
        wait_until(lambda: arena.fleet.completed > 0, "verdicts")
        victim = leaders.of_partition(arena.topics["verdicts"])
        arena.site.kill_broker(victim)
        feed_until_more_is_completed(arena, 60)
        arena.site.restart_broker(victim)
    arena.settle()
    arena.check_closed(duplicates=True)


@pytest.mark.ci(EXACTLY_ONCE)
def test_server_killed_that_coordinates_the_group(new_arena: NewArena) -> None:
    arena = new_arena(seed=203)
    leaders = Leaders(arena.site.bootstrap())
    arena.start_members(2)
    arena.produce(100, SLOW)
    wait_until(lambda: arena.fleet.completed > 0, "verdicts")
    arena.site.kill_broker(leaders.of_group(arena.group))
    feed_until_more_is_completed(arena, 60)
    arena.settle()  # still without it
    arena.check_closed(duplicates=True)


def test_server_killed_that_controls_the_cluster(new_arena: NewArena) -> None:
    arena = new_arena(seed=204)
    arena.start_members(2)
    arena.produce(100, SLOW)
    wait_until(lambda: arena.fleet.completed > 0, "verdicts")
    arena.site.kill_broker(Leaders(arena.site.bootstrap()).of_cluster())
    feed_until_more_is_completed(arena, 60)
    arena.site.heal()
    arena.settle()
    arena.check_closed(duplicates=True)


def test_each_server_killed_in_turn(new_arena: NewArena) -> None:
    arena = new_arena(seed=207)
    arena.start_members(2)
    for server in range(BROKERS):  # whatever it leads and coordinates, groups and transactions among it
        feed_until_more_is_completed(arena, 20)
        arena.site.kill_broker(server)
        feed_until_more_is_completed(arena, 40)
        arena.site.restart_broker(server)
    arena.settle()
    arena.check_closed(duplicates=True)


def test_server_frozen_that_leads_a_verdict_partition(new_arena: NewArena) -> None:
    arena = new_arena(seed=205)
    arena.start_members(2)
    arena.produce(100, SLOW)
    wait_until(lambda: arena.fleet.completed > 0, "verdicts")
    victim = Leaders(arena.site.bootstrap()).of_partition(arena.topics["verdicts"])
    arena.site.pause_broker(victim)
    feed_until_more_is_completed(arena, 60)
    arena.site.resume_broker(victim)
    feed_until_more_is_completed(arena, 60)
    arena.settle()
    arena.check_closed(duplicates=True)


def test_not_enough_replicas_hold_all_and_lose_nothing(new_arena: NewArena) -> None:
    arena = new_arena(seed=206, verdicts={"min.insync.replicas": "3"}, dlq={"min.insync.replicas": "3"})
    workers = arena.start_members(2)
    arena.produce(100, SLOW)
    arena.settle()
    before = arena.view.committed()
    arena.site.kill_broker(Leaders(arena.site.bootstrap()).of_partition(arena.topics["verdicts"]))
    arena.produce(100)
    wait_until(lambda: min(worker.report.in_flight for worker in workers) > 0, "both to hold their work")
    since = time.monotonic()
    wait_until(lambda: arena.timeline.since(since + 5) != [], "time to pass")
    # Nothing can be read of these topics now, so only that nothing was taken for published can be seen.
    assert arena.view.committed() == before
    assert [worker.report.stuck for worker in workers] == [None, None]
    arena.site.heal()
    arena.settle()
    arena.check_closed(duplicates=True)
