"""What the Ask lane answers when more is asked than can be done: goodput, late answers, and how fast it refuses.

On a Ray of its own on this machine: the HTTP server, one guard replica, and in this process whoever asks. First callers
that wait for each answer, which tells the capacity; then bodies at times fixed beforehand, whatever was answered.
"""

import asyncio
import json
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from random import Random
from typing import NamedTuple

import aiohttp
import numpy as np
from ray import serve

from schemas.errors import ModerationError
from workers.ask.replica import AskReplica
from workers.bench.chat import chat_words
from workers.bench.serving.local_serve import local_serve, neither_compiled_nor_kept, versions
from workers.bench.serving.measured_replicas import FixedPassEngine, MeasuredReplica
from workers.bench.serving.open_load import poisson_arrivals
from workers.guard.names import ASK, GUARD
from workers.serving.app import CALLS_PER_REPLICA, QUIET
from workers.serving.engine.completion import Completion, PreparedPrompt
from workers.serving.guard_replica import GuardReplica
from workers.settings.loading import Settings

PATH = "/v1/moderations"
CALLERS = 32
LEARNING = 0.25  # of each run, in which the lane may find out what the guard can do; not counted
MARGIN_S = 0.25  # for the way there and back of an answer that came in time
_READY_S = 300.0
_WARM_UP_S = 2.0
_PATIENT_S = 60.0
Advance = Callable[[int, int | None], None]


@dataclass(frozen=True)
class AskPlan:
    """What is asked.

    Attributes:
        times: items a second, in times of the capacity.
        items: of one body.
        seconds: of each run.
        rounds: runs of each.
        deadline_s: of each body.
        message_ms: no model: each message takes so long, as nearly on a CPU; None for the engine itself.
    """

    times: tuple[float, ...]
    items: int
    seconds: float
    rounds: int
    deadline_s: float
    message_ms: float | None


class Ended(NamedTuple):
    """What became of one body: 200, the code of its refusal, or the kind of an error; and when."""

    due_s: float
    end: str
    seconds: float


@dataclass(frozen=True)
class AskFigures:
    """One run. Items a second; milliseconds.

    Attributes:
        goodput: answered by the deadline.
        of_capacity: goodput in times of the capacity.
        refused: bodies that were shed at once.
        late: bodies that were taken on and had no answer by the deadline.
        others: bodies that ended otherwise, by how.
    """

    times: float
    offered: float
    goodput: float
    of_capacity: float
    answer_p50_ms: float
    answer_p99_ms: float
    refused: int
    refusal_p50_ms: float
    refusal_p99_ms: float
    late: int
    others: dict[str, int]


@dataclass(frozen=True)
class AskReport:
    """What was measured; capacities in items a second, before all runs and after them."""

    engine: str
    capacity: float
    capacity_after: float
    figures: list[AskFigures]
    settings: dict[str, object]
    versions: dict[str, str]

    @property
    def is_good(self) -> bool:
        """True where every body was answered, shed, or late."""
        return not any(row.others for row in self.figures)

    def to_dict(self) -> dict[str, object]:
        """As JSON shows it."""
        return asdict(self)


class PacedEngine(FixedPassEngine):
    """A stand-in for a model on a CPU: each message takes so long, and is safe."""

    def run(self, prompts: Sequence[PreparedPrompt]) -> list[Completion]:
        time.sleep(self.seconds * len(prompts))
        return [Completion("Safety: Safe\nCategories: None", None, None, len(p), 8, "stop") for p in prompts]


class PacedReplica(GuardReplica):
    """A guard replica with that engine."""

    def __init__(self, settings: Settings, message_ms: float) -> None:
        super().__init__(settings, PacedEngine(message_ms))


def run_ask_bench(settings: Settings, plan: AskPlan, advance: Advance) -> AskReport:
    """Start the lane and measure it.

    Args:
        settings: those of the guard and the limits count. Nothing is compiled or remembered.
        plan: see `AskPlan`.
        advance: told how many runs of how many are done.
    """
    settings = neither_compiled_nor_kept(settings)
    port = _free_port()
    ask = settings.ask.model_copy(update={"host": "127.0.0.1", "port": port, "keys_file": None})
    settings = settings.model_copy(update={"ask": ask})
    replica, arguments = (
        (MeasuredReplica, (settings,)) if plan.message_ms is None else (PacedReplica, (settings, plan.message_ms))
    )
    cpus = settings.guard.cpus_per_replica
    with local_serve(cpus):
        guard = serve.deployment(
            replica,
            name=GUARD,
            max_ongoing_requests=CALLS_PER_REPLICA,
            logging_config=QUIET,
            ray_actor_options={"num_cpus": cpus, "num_gpus": settings.guard.gpus_per_replica},
        )
        lane = serve.deployment(AskReplica, name=ASK, ray_actor_options={"num_cpus": 0})
        serve.run(lane.bind(settings, guard.bind(*arguments)), name="asks", route_prefix=None)
        capacity, after, figures = asyncio.run(measured(f"http://127.0.0.1:{port}", plan, advance))
    engine = settings.guard.model if plan.message_ms is None else f"stand-in, {plan.message_ms:g} ms a message"
    told: dict[str, object] = {
        "items": plan.items,
        "deadline_s": plan.deadline_s,
        "batch_size": settings.guard.batch_size,
    }
    return AskReport(engine, capacity, after, figures, told, versions())


async def measured(url: str, plan: AskPlan, advance: Advance) -> tuple[float, float, list[AskFigures]]:
    """The capacity before and after, and the figures of each run.

    Raises:
        ModerationError: the lane does not become ready.
    """
    timeout = aiohttp.ClientTimeout(_PATIENT_S)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        asker = _Asker(session, url, plan.items)
        await asker.wait_until_ready()
        await asker.capacity(min(_WARM_UP_S, plan.seconds))
        capacity = await asker.capacity(plan.seconds)
        runs = [(number, times) for number in range(plan.rounds) for times in plan.times]
        figures = []
        for done, (number, times) in enumerate(runs):
            advance(done, len(runs))
            rate = capacity * times
            due_s = poisson_arrivals(rate / plan.items, plan.seconds, f"{number}-{times}")
            ended = await asker.offer(due_s, plan.deadline_s)
            figures.append(figures_of(ended, times, capacity, plan))
        advance(len(runs), len(runs))
        return capacity, await asker.capacity(plan.seconds), figures


def figures_of(ended: Sequence[Ended], times: float, capacity: float, plan: AskPlan) -> AskFigures:
    """The figures of one run, without its beginning."""
    since = plan.seconds * LEARNING
    rows = [row for row in ended if row.due_s >= since]
    answers = [row.seconds for row in rows if row.end == "200"]
    shed = [row.seconds for row in rows if row.end == "overloaded"]
    in_time = sum(seconds <= plan.deadline_s + MARGIN_S for seconds in answers)
    others = Counter(row.end for row in rows if row.end not in ("200", "overloaded", "unavailable"))
    goodput = in_time * plan.items / (plan.seconds - since)
    return AskFigures(
        times=times,
        offered=len(rows) * plan.items / (plan.seconds - since),
        goodput=goodput,
        of_capacity=goodput / capacity,
        answer_p50_ms=_percentile(answers, 50),
        answer_p99_ms=_percentile(answers, 99),
        refused=len(shed),
        refusal_p50_ms=_percentile(shed, 50),
        refusal_p99_ms=_percentile(shed, 99),
        late=len(answers) - in_time + sum(row.end == "unavailable" for row in rows),
        others=dict(others),
    )


class _Asker:
    def __init__(self, session: aiohttp.ClientSession, url: str, items: int) -> None:
        self._session = session
        self._url = url
        self._items = items
        self._numbers = count()
        self._random = Random(0)

    async def wait_until_ready(self) -> None:
        ends = time.monotonic() + _READY_S
        while time.monotonic() < ends:
            try:
                async with self._session.get(f"{self._url}/readyz") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
        raise ModerationError(f"the lane was not ready within {_READY_S:.0f} s")

    async def capacity(self, seconds: float) -> float:
        """Items a second that callers get answered who wait for each answer."""
        started = time.perf_counter()

        async def ask_on() -> int:
            answered = 0
            while time.perf_counter() - started < seconds:
                answered += await self._ask(_PATIENT_S) == "200"
            return answered

        bodies = sum(await asyncio.gather(*(ask_on() for _ in range(CALLERS))))
        return bodies * self._items / (time.perf_counter() - started)

    async def offer(self, due_s: Sequence[float], deadline_s: float) -> list[Ended]:
        started = time.perf_counter()

        async def ask(due: float) -> Ended:
            end = await self._ask(deadline_s)
            return Ended(due, end, time.perf_counter() - started - due)

        asked = []
        for due in due_s:
            await asyncio.sleep(max(0.0, started + due - time.perf_counter()))
            asked.append(asyncio.create_task(ask(due)))
        return await asyncio.gather(*asked)

    async def _ask(self, deadline_s: float) -> str:
        texts = [f"{' '.join(chat_words(self._random, 3, 15))} {next(self._numbers)}" for _ in range(self._items)]
        headers = {"content-type": "application/json", "x-request-timeout-seconds": f"{deadline_s:g}"}
        data = json.dumps({"input": texts}).encode()
        try:
            async with self._session.post(self._url + PATH, data=data, headers=headers) as response:
                body = await response.read()
                return "200" if response.status == 200 else str(json.loads(body)["error"]["code"])
        except (aiohttp.ClientError, TimeoutError) as error:
            return type(error).__name__


def _percentile(seconds: Sequence[float], percent: float) -> float:
    return float(np.percentile(seconds, percent)) * 1_000 if seconds else 0.0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
