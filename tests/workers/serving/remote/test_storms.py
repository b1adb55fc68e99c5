"""Servers that fail at random, by seed: every message gets the local engine's answer, and none gets lost."""

import asyncio
import random

import pytest

from pipelines.backoff import Backoff
from pipelines.guard import GuardRequest
from pipelines.judging import Judge
from schemas.errors import ItemError
from tests.workers.serving.remote.conftest import CORPUS, NewEngine, NewServer
from tests.workers.serving.remote.fake_server import FakeServer
from workers.serving.engine.completion import Completion
from workers.serving.local_guard import LocalGuard

FAULTS = [
    "too few",
    "twice",
    "swapped",
    "other model",
    "other prompt",
    "other fingerprint",
    "clamped",
    "no end",
    "html",
]
FAULTS += ["null text", "error", "abort", "503", "502", "429", "429 0.01", "404", "422", "reset", "cut", "400", "500"]
CALLS_OF_A_STORM = 8


@pytest.mark.parametrize(
    "seeds", [range(30), pytest.param(range(30, 100), marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_p1_p3_p5_no_storm_loses_or_changes_a_verdict(
    seeds: range, new_server: NewServer, new_engine: NewEngine, local: list[Completion]
) -> None:
    servers = [new_server() for _ in range(3)]
    engine = new_engine(*servers, prompts_per_call=4, calls=3, timeout_s=0.15)
    judge = Judge(LocalGuard(engine), max_attempts=3, max_crashes=3, new_backoff=lambda: Backoff(0.002, 0.02))

    for seed in seeds:
        answers = asyncio.run(storm(random.Random(seed), servers, judge))
        assert answers == [completion.text for completion in local], f"seed {seed}"


async def storm(rng: random.Random, servers: list[FakeServer], judge: Judge) -> list[str]:
    """All of the corpus, in calls at once, while the servers fail."""
    for server in servers:
        server.faults.clear()
        server.faults += [rng.choice(FAULTS) for _ in range(rng.randrange(8))]
    if rng.random() < 0.5:  # at most two deaths, so that no message may be blamed for them
        for server in rng.sample(servers, rng.randrange(1, 3)):
            server.faults.insert(rng.randrange(len(server.faults) + 1), "crash")
    if rng.random() < 0.3:
        rng.choice(servers).faults.append("hang")
    requests = [GuardRequest(conversation, 1, {}) for conversation in CORPUS]
    chunks = [requests[start::CALLS_OF_A_STORM] for start in range(CALLS_OF_A_STORM)]
    judged = await asyncio.wait_for(asyncio.gather(*(judge.judge(chunk) for chunk in chunks)), 60)
    texts = [""] * len(requests)
    for start, chunk in enumerate(judged):
        for index, item in enumerate(chunk):
            assert not isinstance(item.result, ItemError), item.result
            texts[start + index * CALLS_OF_A_STORM] = item.result.text
    return texts
