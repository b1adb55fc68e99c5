"""What others on a replica cost live messages: alone, beside background or asks, beside the same without priority.

On a Ray of its own on this machine: one guard replica, live messages at times fixed beforehand, and in another process
callers that always have a chunk under way. Rounds take turns, so that all sides see the same machine.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any

import ray

from schemas.errors import GuardUnavailableError
from workers.bench.serving.load_report import LoadFigures, Measured, figures_of
from workers.bench.serving.local_serve import (
    CALLS_UNDER_WAY,
    engine_name,
    local_serve,
    neither_compiled_nor_kept,
    start_replica,
    versions,
)
from workers.bench.serving.measured_replicas import MeasuredReplica
from workers.bench.serving.open_load import chat_messages, offer, poisson_arrivals, saturate
from workers.guard.client import GuardClient
from workers.guard.lane import Lane
from workers.settings.loading import Settings

NAME = "background"
ALONE, BACKGROUND, ASKS = "live alone", "beside background", "beside asks"
NO_PRIORITY = "beside the same without priority"
SIDES = (ALONE, BACKGROUND, ASKS, NO_PRIORITY)
LANES = {BACKGROUND: Lane.BACKGROUND, ASKS: Lane.ASK, NO_PRIORITY: Lane.LIVE}
CALLERS = 4
_WARM_UP_S = 1.0
_RETRY_S = 0.1
Advance = Callable[[int, int | None], None]


@dataclass(frozen=True)
class BackgroundPlan:
    """What is offered.

    Attributes:
        shares: live messages a second, as shares of what the replica can do with calls of one message.
        seconds: of each run.
        rounds: runs of each share on each side.
        chunk: messages of a call that is not live.
        seed: of the times of arrival.
        timeout_s: from when a live message was due.
        pass_ms: a stand-in for the engine, see `FixedPassEngine`; None for the engine itself.
    """

    shares: tuple[float, ...]
    seconds: float
    rounds: int
    chunk: int
    seed: int
    timeout_s: float
    pass_ms: float | None


@dataclass(frozen=True)
class BackgroundFigures:
    """One share on one side, its rounds taken together.

    Attributes:
        p99_ratio: of the live messages' p99 to that of the side alone.
        others: messages a second that the other callers got judged.
    """

    share: float
    live: LoadFigures
    p99_ratio: float
    others: float


@dataclass(frozen=True)
class BackgroundReport:
    """What was measured; `capacity` is in messages a second."""

    model: str
    capacity: float
    figures: list[BackgroundFigures]
    settings: dict[str, object]
    machine: dict[str, object]
    versions: dict[str, str]

    @property
    def is_good(self) -> bool:
        """True where every live message was answered."""
        return all(row.live.answered == row.live.sent for row in self.figures)

    def to_dict(self) -> dict[str, object]:
        """As JSON shows it."""
        return asdict(self)


def run_background_bench(settings: Settings, plan: BackgroundPlan, advance: Advance) -> BackgroundReport:
    """Measure every share on every side in turn.

    Args:
        settings: the guard's count. Nothing is compiled or remembered, as in `load_bench`.
        plan: see `BackgroundPlan`.
        advance: told how many runs of how many are done.
    """
    settings = neither_compiled_nor_kept(settings)
    with local_serve(settings.guard.cpus_per_replica):
        handle = start_replica(settings, NAME, MeasuredReplica, (settings, plan.pass_ms))
        return asyncio.run(_measure(settings, plan, handle, advance))


class BackgroundCallers:
    """Callers that always have a chunk under way, as an audit's actors have.

    A Ray actor, in a process of its own: making and sending chunks is not to delay who sends live messages.

    Args:
        handle: Serve handle of the guard's deployment.
        callers: how many chunks are under way.
        chunk: messages of a chunk.
        timeout_s: of a call.
        lane: of their calls.
    """

    def __init__(self, handle: Any, callers: int, chunk: int, timeout_s: float, *, lane: Lane) -> None:
        self._guard = GuardClient(handle, timeout_s, lane=lane)
        self._callers = callers
        self._chunk = chunk
        self._numbers = count()
        self._judged = 0
        self._started = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._is_calling = False

    async def begin(self, label: str) -> None:
        """Start to call; no two labels give equal messages."""
        self._judged = 0
        self._is_calling = True
        self._started = asyncio.get_running_loop().time()
        self._tasks = [asyncio.create_task(self._ask_on(label)) for _ in range(self._callers)]

    async def end(self) -> float:
        """Stop; returns messages a second that were judged."""
        rate = self._judged / (asyncio.get_running_loop().time() - self._started)
        self._is_calling = False  # Python 3.11's `wait_for` may give an answer in place of the cancellation
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return rate

    async def _ask_on(self, label: str) -> None:
        while self._is_calling:
            try:
                reply = await self._guard.judge(chat_messages(self._chunk, f"{label}-{next(self._numbers)}"))
                self._judged += len(reply.answers)
            except GuardUnavailableError:
                await asyncio.sleep(_RETRY_S)


async def _measure(settings: Settings, plan: BackgroundPlan, handle: Any, advance: Advance) -> BackgroundReport:
    live = GuardClient(handle, 2 * plan.timeout_s)
    process: Any = ray.remote(BackgroundCallers).options(num_cpus=0)
    callers = {
        side: process.remote(handle, CALLERS, plan.chunk, 2 * plan.timeout_s, lane=LANES[side]) for side in SIDES[1:]
    }
    await saturate(live, _WARM_UP_S, CALLS_UNDER_WAY)
    capacity = await saturate(live, plan.seconds, CALLS_UNDER_WAY)
    total = plan.rounds * len(plan.shares) * len(SIDES)
    runs: defaultdict[tuple[float, str], list[Measured]] = defaultdict(list)
    others: defaultdict[tuple[float, str], list[float]] = defaultdict(list)
    done = 0
    advance(done, total)
    for number in range(plan.rounds):
        for index, share in enumerate(plan.shares):
            first = (number + index) % len(SIDES)
            for side in (*SIDES[first:], *SIDES[:first]):
                label = f"{plan.seed}-{number}-{index}"
                due_s = poisson_arrivals(capacity * share, plan.seconds, label)
                if side in callers:
                    await callers[side].begin.remote(f"{label}-{side}")
                await handle.take_batch_sizes.remote()
                fates = await offer(live, chat_messages(len(due_s), label), due_s, plan.timeout_s)
                others[share, side].append(await callers[side].end.remote() if side in callers else 0.0)
                sizes = await handle.take_batch_sizes.remote()
                # Answered once the engine has done what the callers left there; else the next side's first wait for it.
                await live.judge(chat_messages(1, f"{label}-{side}-over"))
                runs[share, side].append(Measured(capacity * share, side, label, fates, sizes))
                done += 1
                advance(done, total)
    figures = []
    for share in plan.shares:
        alone = figures_of(runs[share, ALONE], plan.seconds)
        for side in SIDES:
            row = figures_of(runs[share, side], plan.seconds)
            rates = others[share, side]
            figures.append(BackgroundFigures(share, row, row.p99_ms / alone.p99_ms, sum(rates) / len(rates)))
    guard = settings.guard
    return BackgroundReport(
        model=engine_name(guard, plan.pass_ms),
        capacity=capacity,
        figures=figures,
        settings={
            "batch_tokens": guard.batch_tokens,
            "batch_size": guard.batch_size,
            "background_batch_tokens": guard.background_batch_tokens,
            "ask_share": guard.ask_share,
            "callers": CALLERS,
            **{name: value for name, value in asdict(plan).items() if name not in ("shares", "pass_ms")},
        },
        machine=await handle.machine.remote(),
        versions=versions(),
    )
