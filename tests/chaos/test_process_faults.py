"""Worker processes that are killed, frozen and stopped in the middle of their work."""

from __future__ import annotations

import sys
import time

import pytest

from tests.chaos.arena import EXACTLY_ONCE, SESSION_S
from tests.chaos.conftest import AT_LEAST_ONCE_ONLY, NewArena
from tests.chaos.load import Mix
from tests.chaos.recovery import recovered_s
from tests.chaos.site import LONE
from tests.chaos.waiting import wait_until

SLOW = Mix(slow_ms=300)
RARE_COMMITS = {"commit_interval_s": 600}


@pytest.mark.ci
def test_worker_killed_mid_batch(new_arena: NewArena) -> None:
    arena = new_arena(seed=101)
    victim, heir = arena.start_members(2)
    arena.fleet.set_guard_stalled(True)
    arena.produce(300)
    wait_until(lambda: min(victim.report.in_call, heir.report.in_call) > 0, "both to have calls under way")
    orphans = [partition for partition, owner in arena.view.members()[1].items() if owner == victim.name]
    died_at = time.time()
    victim.kill()
    arena.fleet.set_guard_stalled(False)
    arena.wait_owned_by(heir)
    arena.produce(100)
    arena.settle()
    arena.check_closed(duplicates=False)  # nothing of the victim's was published
    after_s = recovered_s(arena.verdicts(), died_at)
    slowest_s = max(after_s[partition] for partition in orphans)
    sys.stdout.write(f"its partitions published {slowest_s:.1f} s after SIGKILL; the session is {SESSION_S:.0f} s\n")
    assert slowest_s <= SESSION_S + 5


@pytest.mark.ci
@AT_LEAST_ONCE_ONLY
def test_worker_killed_between_acknowledgement_and_commit(new_arena: NewArena) -> None:
    arena = new_arena(seed=102)
    (victim,) = arena.start_members(1, delivery=RARE_COMMITS)
    arena.produce(200)
    arena.wait_completed(200)
    victim.kill()
    assert arena.view.committed() == {}
    published = sum(not event.is_skipped for event in arena.load.sent.values())
    arena.produce(50)
    arena.start()
    arena.settle()
    found = arena.check_closed(duplicates=True)
    assert found.duplicates == published


def test_worker_killed_again_and_again_while_it_publishes(new_arena: NewArena) -> None:
    arena = new_arena(seed=103)
    heir = arena.start()
    for _ in range(3):
        victim = arena.start()
        arena.wait_owned_by(heir, victim)
        before = victim.report.completed
        arena.produce(150, SLOW)
        wait_until(lambda: victim.report.completed > before, "the victim to publish")  # noqa: B023
        victim.kill()
        arena.check_not_ahead()
    arena.settle()
    arena.check_closed(duplicates=True)


@pytest.mark.ci(EXACTLY_ONCE)
def test_frozen_worker_wakes_up_behind_its_successor(new_arena: NewArena) -> None:
    arena = new_arena(seed=104)
    zombie, heir = arena.start_members(2)
    arena.fleet.set_guard_stalled(True)
    arena.produce(300)
    wait_until(lambda: min(zombie.report.in_call, heir.report.in_call) > 0, "both to have calls under way")
    zombie.freeze()
    arena.fleet.set_guard_stalled(False)
    arena.wait_owned_by(heir)
    wait_until(arena.all_committed, "the heir to finish the zombie's work")
    published = arena.outcomes().duplicates
    zombie.thaw()
    arena.wait_owned_by(zombie, heir)
    arena.produce(100)
    arena.settle()
    found = arena.check_closed(duplicates=True)
    assert found.duplicates == published == 0, "it published over its successor"


@AT_LEAST_ONCE_ONLY
def test_frozen_worker_with_published_and_uncommitted_work_wakes_up(new_arena: NewArena) -> None:
    arena = new_arena(seed=105)
    zombie, heir = arena.start_members(2, delivery=RARE_COMMITS)
    arena.produce(200)
    arena.wait_completed(200)
    zombie.freeze()
    arena.wait_owned_by(heir)
    heir_done = heir.report.completed
    wait_until(lambda: heir.report.completed > heir_done, "the heir to publish what the zombie did not commit")
    zombie.thaw()
    arena.wait_owned_by(zombie, heir)
    arena.produce(100)

    def all_judged() -> bool:  # what comes twice counts once
        found = arena.outcomes(allow_missing=True)
        return found.verdicts + found.letters + found.skipped == found.inputs

    wait_until(all_judged, "an outcome of everything")
    assert arena.stop_all() == [0, 0]
    assert arena.all_committed()
    arena.check_closed(duplicates=True)


def test_worker_whose_network_is_gone_is_succeeded_and_comes_back(new_arena: NewArena) -> None:
    arena = new_arena(seed=106)
    lonely, other = arena.start(way=LONE), arena.start()
    arena.wait_owned_by(lonely, other)
    arena.produce(200, SLOW)
    wait_until(lambda: lonely.report.in_flight > 0, "it to have work in flight")
    arena.site.stall(LONE)
    arena.wait_owned_by(other)
    arena.settle()
    arena.site.cure(LONE)
    arena.wait_owned_by(lonely, other)
    arena.produce(100)
    arena.settle()
    arena.check_closed(duplicates=True)


def test_worker_stopped_with_a_guard_call_longer_than_its_drain(new_arena: NewArena) -> None:
    arena = new_arena(seed=107)
    leaving, staying = arena.start_members(2, delivery={"drain_timeout_s": 2})
    arena.fleet.set_guard_stalled(True)
    arena.produce(200)
    wait_until(lambda: leaving.report.in_call > 0, "a call to be under way")
    started = time.monotonic()
    assert leaving.stop() == 0
    assert time.monotonic() - started < 30, "the drain was not bounded"
    arena.check_not_ahead()
    arena.fleet.set_guard_stalled(False)
    arena.wait_owned_by(staying)
    arena.settle()
    arena.check_closed(duplicates=False)
