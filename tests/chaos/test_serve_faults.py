"""Real Ray Serve: replicas of both deployments that die, a controller that dies, and no replica at all for a while.

The stream replica, the guard replica, its batcher and the way between them are the application's own; the engine is
scripted.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from schemas.dead_letter import read_dead_letter
from schemas.reasons import Reason
from tests.chaos.arena import PARTITIONS, SESSION_S, Arena
from tests.chaos.conftest import AT_LEAST_ONCE_ONLY, NewArena
from tests.chaos.load import PLAIN, Event, Mix
from tests.chaos.recovery import recovered_s, standing_s
from tests.chaos.ruled_engine import BEGUN, ENDED, ONCE_S, READY, RuledReplica
from tests.chaos.ruled_guard import HANG, HANG_ONCE, KILL
from tests.chaos.serve_site import ROOT, ServeSite
from tests.chaos.waiting import wait_until
from workers.serving import app
from workers.serving.app import GUARD, STREAM

SLOW = Mix(slow_ms=200)
MAX_CRASHES = 2
HANGS_S = 4.0
CHUNK = 8
# Nobody is ready while a replica is started, and a poisonous record kills one after another.
CALM_S = 60.0
NewServing = Callable[..., ServeSite]


@pytest.fixture
def new_serving(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[NewServing]:
    """`new_serving(arena, …)` starts the application over an arena; see `ServeSite`."""
    monkeypatch.setattr(app, "DeployedGuardReplica", RuledReplica)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # replicas and controller import what the tests define
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    with ExitStack() as running:
        yield lambda arena, **options: running.enter_context(ServeSite(arena, tmp_path, **options))


def wait_for_verdicts(arena: Arena, more: int) -> None:
    """Produce until so many more are there."""
    before = len(arena.verdicts())

    def there() -> bool:
        arena.produce(20, SLOW)
        return len(arena.verdicts()) >= before + more

    wait_until(there, f"{more} more verdicts")


@AT_LEAST_ONCE_ONLY
def test_guard_replica_killed_mid_batch(new_arena: NewArena, new_serving: NewServing) -> None:
    arena = new_arena(seed=801)
    serving = new_serving(arena)
    arena.produce(100, PLAIN)
    arena.settle()
    serving.stall(True)
    arena.produce(200, PLAIN)
    wait_until(lambda: bool(serving.busy_guards()), "a batch to be under way")
    died_at = serving.kill(serving.busy_guards()[0])
    serving.stall(False)
    arena.settle(standstill_s=CALM_S)
    found = arena.check_closed(duplicates=False)
    assert found.letters == 0, "a replica's death was blamed on records"
    next_s = min(recovered_s(arena.verdicts(), died_at).values())
    (replica,) = serving.replicas(GUARD)
    noticed_s = replica["start_time_s"] - died_at
    ready = serving.ready_after(died_at)
    assert ready is not None
    start_s = ready.at - replica["start_time_s"]
    sys.stdout.write(f"noticed {noticed_s:.2f} s, start {start_s:.2f} s, next verdict {next_s:.2f} s after its death\n")
    assert next_s <= start_s + 2


@AT_LEAST_ONCE_ONLY
def test_poison_that_kills_the_replica_is_quarantined_and_its_neighbours_are_judged(
    new_arena: NewArena, new_serving: NewServing
) -> None:
    arena = new_arena(seed=802)
    serving = new_serving(arena, delivery={"chunk_size": CHUNK, "max_crashes": MAX_CRASHES})
    arena.produce(60, PLAIN)
    text = json.dumps({"event_id": "poison", "text": f"hello {KILL}"}).encode()
    arena.load.produce([Event(b"k1", text, [], Reason.REPLICA_CRASH)])
    arena.produce(60, PLAIN)
    arena.settle(standstill_s=CALM_S)
    found = arena.check_closed(duplicates=False)
    assert (found.letters, found.verdicts) == (1, 120)
    (record,) = arena.view.read(arena.topics["dlq"])
    assert read_dead_letter(record).attempts == MAX_CRASHES
    deaths = sum(note.what == READY for note in serving.notes) - 1
    sys.stdout.write(f"{deaths} replicas died of it\n")
    assert deaths <= 2 * MAX_CRASHES + math.ceil(math.log2(CHUNK))


@AT_LEAST_ONCE_ONLY
def test_a_record_that_hangs_its_replica_is_quarantined_and_its_neighbours_are_judged(
    new_arena: NewArena, new_serving: NewServing
) -> None:
    arena = new_arena(seed=807)
    serving = new_serving(
        arena,
        guards=2,
        guard={"batch_timeout_s": HANGS_S},
        delivery={"chunk_size": CHUNK, "max_crashes": MAX_CRASHES},
    )
    wait_for_verdicts(arena, 40)
    text = json.dumps({"event_id": "hangs", "text": f"hello {HANG}"}).encode()
    hung_at = time.time()
    arena.load.produce([Event(b"k1", text, [], Reason.REPLICA_CRASH)])
    wait_for_verdicts(arena, 400)
    loaded_until = time.time()
    arena.settle(standstill_s=CALM_S)
    assert arena.check_closed(duplicates=False).letters == sum(one.is_refused for one in arena.load.sent.values())
    (letter,) = [one for one in map(read_dead_letter, arena.view.read(arena.topics["dlq"])) if one.attempts > 1]
    assert (letter.reason, letter.attempts) == (Reason.REPLICA_CRASH, MAX_CRASHES)
    deaths = sum(note.what == READY for note in serving.notes) - 2
    stood = standing_s(arena.verdicts(), PARTITIONS, hung_at, loaded_until)
    sys.stdout.write(f"{deaths} replicas ended; partitions stood {stood}\n")
    assert deaths <= 2 * MAX_CRASHES + math.ceil(math.log2(CHUNK))


@pytest.mark.parametrize("guards", [2, 3])
def test_a_call_that_hangs_once_holds_what_it_shares_with_others_for_less_than_it_hangs(
    new_arena: NewArena, new_serving: NewServing, guards: int
) -> None:
    arena = new_arena(seed=808)
    serving = new_serving(arena, guards=guards, delivery={"chunk_size": 64})
    wait_for_verdicts(arena, 40)
    text = json.dumps({"event_id": "hangs", "text": f"hello {HANG_ONCE}"}).encode()
    hung_at = time.time()
    arena.load.produce([Event(b"k1", text, [], None)])
    while time.time() < hung_at + ONCE_S + 2:
        arena.produce(2, PLAIN)
        time.sleep(0.02)
    loaded_until = time.time()
    arena.settle(standstill_s=CALM_S)
    arena.check_closed(duplicates=False)
    stood = standing_s(arena.verdicts(), PARTITIONS, hung_at, loaded_until)
    sys.stdout.write(f"a call hung for {ONCE_S:.0f} s; partitions stood {stood}\n")
    assert max(stood.values()) < ONCE_S / 2
    assert {note.what for note in serving.notes} == {READY, BEGUN, ENDED}


def test_guard_replicas_killed_again_and_again(new_arena: NewArena, new_serving: NewServing) -> None:
    arena = new_arena(seed=803)
    serving = new_serving(arena, guards=2)
    for _ in range(3):
        arena.produce(100, SLOW)
        wait_until(lambda: bool(serving.busy_guards()), "a batch to be under way")
        serving.kill(serving.busy_guards()[0])
        wait_for_verdicts(arena, 60)
    arena.settle(standstill_s=CALM_S)
    assert arena.check_closed(duplicates=False).letters == sum(event.is_refused for event in arena.load.sent.values())


@pytest.mark.ci
@AT_LEAST_ONCE_ONLY
def test_serve_controller_killed_under_load(new_arena: NewArena, new_serving: NewServing) -> None:
    arena = new_arena(seed=804)
    serving = new_serving(arena)
    replicas = serving.pids(GUARD) + serving.pids(STREAM)
    wait_for_verdicts(arena, 40)
    serving.kill_controller()
    wait_for_verdicts(arena, 80)
    serving.wait_controller()
    assert serving.pids(GUARD) + serving.pids(STREAM) == replicas, "it started anew what was running"
    # And it still does its work: a replica that dies is replaced.
    died_at = serving.kill(serving.pids(GUARD)[0])
    wait_for_verdicts(arena, 40)
    arena.settle(standstill_s=CALM_S)
    arena.check_closed(duplicates=False)
    assert serving.ready_after(died_at) is not None


@AT_LEAST_ONCE_ONLY
def test_guards_scaled_from_1_to_0_to_3_with_a_backlog(new_arena: NewArena, new_serving: NewServing) -> None:
    arena = new_arena(seed=805)
    # A batch that is under way when its replica has to go does not end in time.
    serving = new_serving(arena, scaled=True, delivery={"drain_timeout_s": 2})
    wait_for_verdicts(arena, 40)
    serving.stall(True)
    arena.produce(600, PLAIN)
    wait_until(lambda: bool(serving.busy_guards()), "a batch to be under way")
    last = serving.busy_guards()
    serving.scale(0)
    wait_until(lambda: not set(last) & set(serving.busy_guards()), "the end of the last replica, in its batch")
    before = len(arena.verdicts())
    serving.scale(3)
    serving.stall(False)
    arena.settle(standstill_s=CALM_S)
    assert arena.check_closed(duplicates=False).verdicts >= before + 500, "there was no backlog"
    assert len({note.pid for note in serving.notes if note.what == ENDED and note.pid not in last}) > 1


def test_stream_replica_killed_is_succeeded_by_its_neighbour_and_replaced(
    new_arena: NewArena, new_serving: NewServing
) -> None:
    arena = new_arena(seed=806)
    serving = new_serving(arena, consumers=2, guards=2)
    wait_for_verdicts(arena, 100)
    victim = serving.pids(STREAM)[0]
    died_at = serving.kill(victim)
    wait_until(lambda: len(recovered(arena, died_at)) == PARTITIONS, "verdicts of every partition")
    slowest_s = max(recovered(arena, died_at).values())
    wait_until(lambda: victim not in serving.pids(STREAM) and len(serving.pids(STREAM)) == 2, "a replacement")
    arena.produce(100)
    arena.settle(standstill_s=CALM_S)
    arena.check_closed(duplicates=True)
    sys.stdout.write(f"every partition published {slowest_s:.2f} s after SIGKILL; the session is {SESSION_S:.0f} s\n")
    assert slowest_s <= SESSION_S + 5


def recovered(arena: Arena, died_at: float) -> dict[int, float]:
    """See `recovered_s`; with fresh work for every partition."""
    arena.produce(40, SLOW)
    return recovered_s(arena.verdicts(), died_at)
