"""What the order of batches alone costs live messages: the real batcher in virtual time, with costs of a GPU and a CPU.

No machine's noise is in these figures, so they can be asserted; infra/benchmarks/2026-11-21-background.md tells what
they do not hold.
"""

import asyncio
from collections.abc import Sequence
from itertools import count

import numpy as np
import pytest

from tests.workers.serving.virtual_time import run_at_once
from workers.bench.serving.open_load import poisson_arrivals
from workers.guard.lane import Lane
from workers.serving.batching.batcher import Batcher
from workers.settings.sections import GuardSettings

TOKENS = 300  # of a message with its prompt
MESSAGES = 4_000
FIRST = 100  # live messages that are there alone, and as many again that are not measured
CALLERS, CHUNK = 4, 64
SETTINGS = GuardSettings()
GPU = 0.010, 1.2e6  # seconds of a pass whatever its size, and tokens a second beyond that
CPU = 0.002, 2.5e4


def p99_and_others(
    cost: tuple[float, float], load: float, lane: Lane | None, few: int = SETTINGS.background_batch_tokens
) -> tuple[float, float]:
    """The 99th percentile of live messages' latency in seconds, and messages a second that other callers got judged.

    Args:
        cost: see GPU.
        load: live messages, as a share of what full batches can do.
        lane: of the other callers; None without them.
        few: `background_tokens`.
    """
    fixed_s, tokens_per_second = cost
    full = SETTINGS.batch_tokens // TOKENS
    rate = load * full / (fixed_s + full * TOKENS / tokens_per_second)
    due_s = poisson_arrivals(rate, MESSAGES / rate, f"{load}")

    async def engine(groups: Sequence[Sequence[str]]) -> list[str]:
        await asyncio.sleep(fixed_s + len(groups) * TOKENS / tokens_per_second)
        return [""] * len(groups)

    async def main() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        batcher: Batcher[str, str] = Batcher(
            engine,
            key=lambda item: item,
            batch_tokens=SETTINGS.batch_tokens,
            batch_size=SETTINGS.batch_size,
            background_tokens=few,
            background_share=SETTINGS.background_share,
            ask_share=SETTINGS.ask_share,
            clock=loop.time,
        )
        numbers, judged = count(), 0
        latencies: list[float] = []

        async def ask_on(lane: Lane) -> None:
            nonlocal judged
            await asyncio.sleep(due_s[FIRST])
            while True:
                await batcher.submit([(f"{next(numbers)}", TOKENS) for _ in range(CHUNK)], lane=lane)
                judged += CHUNK

        async def ask(due: float) -> None:
            await asyncio.sleep(due)
            await batcher.submit([(f"{next(numbers)}", TOKENS)])
            if due > due_s[2 * FIRST]:
                latencies.append(loop.time() - due)

        callers = [asyncio.create_task(ask_on(lane)) for _ in range(CALLERS) if lane]
        await asyncio.gather(*map(ask, due_s))
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        return float(np.percentile(latencies, 99)), judged / loop.time()

    return run_at_once(main())


@pytest.mark.parametrize(
    "load", [pytest.param(0.05, marks=pytest.mark.slow), 0.25, pytest.param(0.5, marks=pytest.mark.slow), 0.8]
)
def test_on_a_gpu_live_p99_beside_background_or_asks_is_at_most_1_2_times_what_it_is_alone(load: float) -> None:
    alone, _ = p99_and_others(GPU, load, None)
    beside, others = p99_and_others(GPU, load, Lane.BACKGROUND)
    without, _ = p99_and_others(GPU, load, Lane.LIVE)
    asked, asks = p99_and_others(GPU, load, Lane.ASK)

    assert beside <= 1.2 * alone
    assert asked <= 1.2 * alone
    assert asks > 100, "asks are starved"
    assert without > 2 * alone, "without priority"
    assert others > 0.05 * load * 3_000, "background is starved"


@pytest.mark.parametrize(
    ("load", "least"),
    [
        (0.05, 8),
        pytest.param(0.25, 15, marks=pytest.mark.slow),
        (0.5, 20),
        pytest.param(0.9, 2, marks=pytest.mark.slow),
    ],
)
def test_on_a_cpu_live_p99_beside_asks_is_at_most_1_2_times_what_it_is_alone(load: float, least: float) -> None:
    alone, _ = p99_and_others(CPU, load, None)
    beside, asks = p99_and_others(CPU, load, Lane.ASK)

    assert beside <= 1.2 * alone
    assert asks > least, "asks are starved"


@pytest.mark.parametrize("load", [0.25, 0.5])
def test_on_a_cpu_a_live_message_waits_for_no_more_than_one_background_pass_in_its_way(load: float) -> None:
    fixed_s, tokens_per_second = CPU
    alone, _ = p99_and_others(CPU, load, None)
    beside, others = p99_and_others(CPU, load, Lane.BACKGROUND, TOKENS)

    assert beside <= alone + 2 * (fixed_s + TOKENS / tokens_per_second)
    assert others > 0
