"""Runs a storm as its schedule says, then mends everything, and keeps still until all is judged.

Judges nothing; the arena does.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable

from tests.chaos.arena import SESSION_S, Arena
from tests.chaos.leaders import Leaders
from tests.chaos.load import Mix
from tests.chaos.schedule import GROUPS, Action, Step
from tests.chaos.site import BROKERS, SHARED

MOST_WORKERS = 4
MIX = Mix(slow_ms=80, raising=0.005, killing=0.003)
Ending = Callable[[], None]


class Conductor:
    """Does steps to an arena.

    Args:
        arena: topics, workers and network.
    """

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._leaders = Leaders(arena.site.bootstrap())
        self._endings: list[tuple[float, int, Action, Ending]] = []
        self.log: list[str] = []

    def storm(self, steps: tuple[Step, ...]) -> None:
        """Do every step at its time, or as soon after it as the one before is done."""
        started = time.monotonic()
        for number, step in enumerate(steps):
            self._end_until(started + step.at_s)
            time.sleep(max(0.0, started + step.at_s - time.monotonic()))
            self.log.append(f"{time.monotonic() - started:7.2f} s  {step.action}")
            self._end_others(step.action)
            if (ending := self._do(step)) is not None:
                heapq.heappush(self._endings, (time.monotonic() + step.lasts_s, number, step.action, ending))
        while self._endings:
            heapq.heappop(self._endings)[-1]()

    def quieten(self) -> None:
        """Mend everything; two workers at least."""
        arena = self._arena
        arena.site.heal()
        arena.fleet.set_guard_down(False)
        arena.fleet.set_guard_stalled(False)
        for worker in arena.fleet.running:
            if worker.is_frozen:
                worker.thaw()
        while len(arena.fleet.running) < 2:
            arena.start(delivery={"commit_interval_s": 0.5})

    def _end_until(self, at: float) -> None:
        while self._endings and self._endings[0][0] <= at:
            due, _, _, ending = heapq.heappop(self._endings)
            time.sleep(max(0.0, due - time.monotonic()))
            ending()

    def _end_others(self, action: Action) -> None:
        """On a busy machine a step comes late and would last into the next one of its group."""
        group = next((group for group in GROUPS if action in group), frozenset())
        late = [entry for entry in self._endings if entry[2] in group]
        self._endings = [entry for entry in self._endings if entry[2] not in group]
        heapq.heapify(self._endings)
        for *_, ending in late:
            ending()

    def _do(self, step: Step) -> Ending | None:
        arena = self._arena
        awake = [worker for worker in arena.fleet.running if not worker.is_frozen]
        if step.action is Action.BURST:
            arena.produce(step.size, MIX)
        elif step.action is Action.JOIN:
            if len(arena.fleet.running) < MOST_WORKERS:
                arena.start()
        elif step.action in (Action.LEAVE, Action.KILL, Action.FREEZE):
            if len(awake) > 1:
                return self._do_to_worker(step)
        elif step.action is Action.LEADERS:
            if not arena.site.has_servers_missing:
                self._leaders.move(arena.topics.values())
        else:
            return self._do_around(step)
        return None

    def _do_to_worker(self, step: Step) -> Ending | None:
        awake = [worker for worker in self._arena.fleet.running if not worker.is_frozen]
        victim = awake[step.pick % len(awake)]
        if step.action is Action.LEAVE:
            victim.ask_to_stop()
            return None
        if step.action is Action.KILL:
            victim.kill()
            return None
        victim.freeze()
        return lambda: victim.thaw() if victim.is_running else None

    def _do_around(self, step: Step) -> Ending | None:
        arena, site, server = self._arena, self._arena.site, step.pick % BROKERS
        if step.action is Action.SERVER_KILL:
            site.kill_broker(server)
            return lambda: site.restart_broker(server)
        if step.action is Action.SERVER_FREEZE:
            site.pause_broker(server)
            return lambda: site.resume_broker(server)
        if step.action is Action.CUT:
            site.cut(SHARED)
            return None
        if step.action is Action.GUARD_DOWN:
            arena.fleet.set_guard_down(True)
            return lambda: arena.fleet.set_guard_down(False)
        if step.action is Action.GUARD_STALL:
            arena.fleet.set_guard_stalled(True)
            return lambda: arena.fleet.set_guard_stalled(False)
        begin: dict[Action, Ending] = {
            Action.SLOW: lambda: site.slow(SHARED, 50, 125),
            Action.STALL: lambda: site.stall(SHARED),
            Action.RESET: lambda: site.reset_connections(SHARED),
            Action.SWALLOW: lambda: site.swallow_answers(SHARED),
        }
        begin[step.action]()
        # Lost bytes leave a connection that makes no sense any more.
        return lambda: site.cut(SHARED) if step.action is Action.SWALLOW else site.cure(SHARED)


def calm_bound_s() -> float:
    """Longest standstill after a storm: sessions have to run out, and producers to give up on what is gone."""
    return 3 * SESSION_S + 20
