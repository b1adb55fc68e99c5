"""Batch size, messages per second and latency against offered load: our batcher beside `@serve.batch`, in turns.

On a Ray of its own on this machine: one guard replica of each kind with the same engine, and the same messages at the
same times for both, one a call. Does not measure the stream.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from workers.bench.serving.load_report import LoadReport, Measured, compare_answers, figures_of
from workers.bench.serving.local_serve import (
    CALLS_UNDER_WAY,
    ONGOING,
    engine_name,
    local_serve,
    neither_compiled_nor_kept,
    start_replica,
    versions,
)
from workers.bench.serving.measured_replicas import MeasuredReplica, ServeBatchReplica
from workers.bench.serving.open_load import chat_messages, offer, poisson_arrivals, saturate
from workers.guard.client import GuardClient
from workers.settings.loading import Settings

SHARES_OF_CAPACITY = (0.25, 0.5, 0.8, 1.2)
WEIR = "weir"
SERVE_BATCH = "serve.batch"
_WARM_UP_S = 1.0
Advance = Callable[[int, int | None], None]


@dataclass(frozen=True)
class LoadPlan:
    """What is offered, and to what.

    Attributes:
        loads: messages a second; empty for `SHARES_OF_CAPACITY` of what our replica does in the same run.
        seconds: of each run.
        rounds: runs of each load on each side.
        waits_s: `batch_wait_timeout_s` of `@serve.batch`, each a side of its own.
        seed: of the times of arrival.
        timeout_s: from when a message was due.
        pass_ms: a stand-in for the engine, see `FixedPassEngine`; None for the engine itself.
    """

    loads: tuple[float, ...]
    seconds: float
    rounds: int
    waits_s: tuple[float, ...]
    seed: int
    timeout_s: float
    pass_ms: float | None


def run_load_bench(settings: Settings, plan: LoadPlan, advance: Advance) -> LoadReport:
    """Measure every load on every side in turn.

    Args:
        settings: the guard's count. Nothing is compiled, so that no run shares its processors with a compiler, and
            nothing is remembered, since all sides are asked the same.
        plan: see `LoadPlan`.
        advance: told how many runs of how many are done.
    """
    settings = neither_compiled_nor_kept(settings)
    with _replicas(settings, plan) as handles:
        return asyncio.run(_Bench(settings, plan, handles, advance).measure())


@contextmanager
def _replicas(settings: Settings, plan: LoadPlan) -> Iterator[Mapping[str, Any]]:
    """Handles of one replica of each kind on a Ray of their own."""
    guard = settings.guard
    kinds: dict[str, tuple[type[MeasuredReplica], tuple[object, ...]]] = {
        WEIR: (MeasuredReplica, (settings, plan.pass_ms)),
        SERVE_BATCH: (ServeBatchReplica, (settings, guard.batch_size, plan.pass_ms)),
    }
    with local_serve(2 * guard.cpus_per_replica):
        # Both on one GPU, if any: they take turns.
        yield {name: start_replica(settings, name, *kind, gpu_share=0.5) for name, kind in kinds.items()}


class _Bench:
    def __init__(self, settings: Settings, plan: LoadPlan, handles: Mapping[str, Any], advance: Advance) -> None:
        self._settings = settings
        self._plan = plan
        self._handles = handles
        self._advance = advance
        # Each side's wait; ours has none to set.
        self._waits: dict[str, float | None] = {WEIR: None}
        self._waits |= {f"{SERVE_BATCH} {wait_s * 1000:g} ms": wait_s for wait_s in plan.waits_s}

    async def measure(self) -> LoadReport:
        """Warm up, find the capacity, and run every load on every side in turn."""
        plan = self._plan
        for side in self._waits:
            await saturate(await self._guard(side), _WARM_UP_S, CALLS_UNDER_WAY)
        capacity = None if plan.loads else await saturate(await self._guard(WEIR), plan.seconds, CALLS_UNDER_WAY)
        loads = plan.loads or tuple((capacity or 1.0) * share for share in SHARES_OF_CAPACITY)
        total = plan.rounds * len(loads) * len(self._waits)
        runs: list[Measured] = []
        self._advance(0, total)
        for number in range(plan.rounds):
            for index, load in enumerate(loads):
                backwards = (number + index) % 2 == 1
                for side in reversed(self._waits) if backwards else self._waits:
                    runs.append(await self._run(side, load, f"{plan.seed}-{number}-{index}"))
                    self._advance(len(runs), total)
        return await self._report(capacity, runs)

    async def _guard(self, side: str) -> GuardClient:
        """The side's replica, set to what the side stands for."""
        handle = self._handle(side)
        if (wait_s := self._waits[side]) is not None:
            await handle.set_batch_wait_timeout_s.remote(wait_s)
        # Each message has a time-out of its own, which comes first.
        return GuardClient(handle, 2 * self._plan.timeout_s)

    def _handle(self, side: str) -> Any:
        return self._handles[WEIR if side == WEIR else SERVE_BATCH]

    async def _run(self, side: str, load: float, label: str) -> Measured:
        due_s = poisson_arrivals(load, self._plan.seconds, label)
        guard = await self._guard(side)
        await self._handle(side).take_batch_sizes.remote()
        fates = await offer(guard, chat_messages(len(due_s), label), due_s, self._plan.timeout_s)
        return Measured(load, side, label, fates, await self._handle(side).take_batch_sizes.remote())

    async def _report(self, capacity: float | None, runs: list[Measured]) -> LoadReport:
        plan, guard = self._plan, self._settings.guard
        by_side: defaultdict[tuple[float, str], list[Measured]] = defaultdict(list)
        by_label: defaultdict[str, list[Measured]] = defaultdict(list)
        for run in runs:
            by_side[run.load, run.side].append(run)
            by_label[run.label].append(run)
        sides = list(self._waits)
        order = sorted(by_side, key=lambda key: (key[0], sides.index(key[1])))
        compared = [compare_answers([run.fates for run in same]) for same in by_label.values()]
        return LoadReport(
            model=engine_name(guard, plan.pass_ms),
            capacity=capacity,
            loads=[figures_of(by_side[key], plan.seconds) for key in order],
            runs=[figures_of([run], plan.seconds) for run in runs],
            different_answers=sum(different for different, _ in compared),
            compared_answers=sum(both for _, both in compared),
            settings={
                "engine": guard.engine,
                "dtype": guard.dtype,
                "batch_size": guard.batch_size,
                "batch_tokens": guard.batch_tokens,
                "max_batch_size": guard.batch_size,
                "batch_wait_timeout_s": plan.waits_s,
                "max_ongoing_requests": ONGOING,
                "seconds": plan.seconds,
                "rounds": plan.rounds,
                "seed": plan.seed,
                "timeout_s": plan.timeout_s,
            },
            machine=await self._handles[WEIR].machine.remote(),
            versions=versions(),
        )
