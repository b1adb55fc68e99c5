"""A batch that does not end: after how long a guard replica is red, and what the one that is deployed does (P12)."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf

import pytest

from schemas.errors import BatchHangsError
from tests.workers.serving.pretend_engine import PretendEngine, replica_of, request
from workers.serving import guard_replica
from workers.serving.batching.pass_cost import PassCost
from workers.serving.engine.completion import Completion, PreparedPrompt
from workers.serving.guard_replica import HANGS_AFTER_S, HANGS_TIMES, DeployedGuardReplica, GuardReplica

TIMEOUT_S = 300.0


class HangingEngine(PretendEngine):
    """Comes back from "hang" only when it is let go."""

    def __init__(self, device: str = "cpu") -> None:
        super().__init__()
        self.identity = dataclasses.replace(PretendEngine.identity, device=device)
        self.hangs = threading.Event()
        self.lets_go = threading.Event()

    def run(self, prompts: Sequence[PreparedPrompt]) -> list[Completion]:
        completions = super().run(prompts)
        if self.batches[-1] == ["hang"]:
            self.hangs.set()
            self.lets_go.wait(20)
        return completions


class Clock:
    """Seconds, as a test says."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(guard_replica, "perf_counter", made)
    return made


@contextmanager
def hanging(replica: GuardReplica, engine: HangingEngine, *before: str) -> Iterator[asyncio.Runner]:
    """While a batch hangs, after others that did not."""

    async def begin() -> asyncio.Task[object]:
        for text in before:
            await replica.judge([request(text)])
        asked = asyncio.ensure_future(replica.judge([request("hang")]))
        await asyncio.to_thread(engine.hangs.wait, 20)
        return asked

    async def end(asked: asyncio.Task[object]) -> None:
        engine.lets_go.set()
        await asked
        await replica.check_health()

    with asyncio.Runner() as runner:
        asked = runner.run(begin())
        yield runner
        runner.run(end(asked))


@pytest.mark.parametrize(
    ("before", "device", "setting_s", "expected_s"),
    [
        (["a"], "cpu", TIMEOUT_S, HANGS_AFTER_S),
        (["a"], "cuda", 7.0, 7.0),
        ([], "cpu", TIMEOUT_S, TIMEOUT_S),  # nothing is known of what is usual
        (["a"], "remote", TIMEOUT_S, TIMEOUT_S),
    ],
)
def test_p12_a_batch_that_takes_far_longer_than_those_before_it_turns_health_red(
    clock: Clock, before: list[str], device: str, setting_s: float, expected_s: float
) -> None:
    engine = HangingEngine(device)
    replica = replica_of(engine, batch_timeout_s=setting_s)
    with hanging(replica, engine, *before) as runner:
        clock.now += expected_s - 0.5
        runner.run(replica.check_health())
        clock.now += 1.0
        with pytest.raises(BatchHangsError, match="a batch should have ended"):
            runner.run(replica.check_health())


def test_a_batch_has_twenty_times_what_is_usual_for_its_tokens(clock: Clock) -> None:
    engine = HangingEngine()
    replica = replica_of(engine, batch_timeout_s=TIMEOUT_S)
    cost = replica._batcher._lanes.cost  # noqa: SLF001 - a second cannot be waited for here
    cost.note(2, 1.0)  # "hang" has four
    with hanging(replica, engine) as runner:
        clock.now += HANGS_TIMES * 2 - 0.5
        runner.run(replica.check_health())
        clock.now += 1.0
        with pytest.raises(BatchHangsError):
            runner.run(replica.check_health())


def test_what_a_pass_may_take_is_never_below_what_its_tokens_took_in_others() -> None:
    cost = PassCost()
    assert cost.at_most(10) == inf
    cost.note(100, 3.0)
    cost.note(200, 1.0)  # from which it looks as if more tokens took less time
    assert cost.of(10_000) < 10_000 * 2.0 / 200
    assert cost.at_most(10_000) > 10_000 * 2.0 / 100
    assert cost.at_most(1) == cost.of(1)


def test_the_replica_of_a_process_of_its_own_ends_it(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(guard_replica.os, "_exit", ended.append)
    monkeypatch.setattr(guard_replica, "keep_collections_short", lambda: None)
    engine = HangingEngine()
    replica = replica_of(engine, DeployedGuardReplica, batch_timeout_s=7.0)
    with hanging(replica, engine, "a") as runner:
        clock.now += 7.5
        runner.run(replica.check_health())
    assert ended == [1]
