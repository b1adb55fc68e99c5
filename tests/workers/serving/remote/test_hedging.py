"""A live call that is slow is made a second time, on another server, and seldom; its trace goes along with each."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.backoff import Backoff
from pipelines.judging import Judge
from tests.workers.serving.pretend_engine import PretendEngine, replica_of
from tests.workers.serving.remote.conftest import CORPUS, NewEngine, NewServer
from tests.workers.serving.remote.fake_server import FakeServer
from tests.workers.serving.remote.test_replica import REQUESTS
from tests.workers.serving.remote.test_storms import storm
from workers.serving.engine.completion import BatchContext, Completion, PreparedPrompt
from workers.serving.local_guard import LocalGuard
from workers.serving.remote.connection import Waits
from workers.serving.remote.endpoint import Endpoint, State
from workers.serving.remote.engine import RemoteEngine
from workers.serving.remote.hedging import ENOUGH, Hedging

LIVE = BatchContext({}, is_live=True)
TRACE = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "vendor=1"}


def prompts_of(engine: RemoteEngine, count: int = 1) -> list[PreparedPrompt]:
    return [item for item in engine.prepare_all(CORPUS[:count]) if isinstance(item, PreparedPrompt)]


def practised(
    new_server: NewServer, new_engine: NewEngine, share: float
) -> tuple[list[FakeServer], RemoteEngine, list[PreparedPrompt]]:
    """Two servers, and an engine that has made enough live calls to know what is slow; and the prompts of one more."""
    servers = [new_server(), new_server()]
    engine = new_engine(*servers, hedge_share=share, timeout_s=30.0)
    prompts = prompts_of(engine)
    for _ in range(ENOUGH):
        engine.run_for(prompts, LIVE)
    return servers, engine, prompts


@given(
    share=st.sampled_from((0.0, 0.01, 0.05, 0.5)),
    calls=st.lists(st.tuples(st.floats(0, 100), st.booleans()), min_size=ENOUGH + 8, max_size=ENOUGH + 40),
)
def test_second_calls_are_never_more_than_their_share_of_the_live_ones(
    share: float, calls: list[tuple[float, bool]]
) -> None:
    hedging = Hedging(share)
    for number, (seconds, is_slow) in enumerate(calls):
        slow_s = hedging.begin()
        assert (slow_s is None) == (share == 0 or number < ENOUGH)
        if slow_s is not None:
            assert min(taken for taken, _ in calls[:number]) <= slow_s <= max(taken for taken, _ in calls[:number])
            if is_slow:
                hedging.take()
        assert hedging.made <= share * (number + 1) + 1e-6
        hedging.answered(seconds)


def test_a_live_call_that_hangs_is_answered_by_another_server_and_given_up(
    new_server: NewServer, new_engine: NewEngine, local: list[Completion]
) -> None:
    servers, engine, prompts = practised(new_server, new_engine, 0.5)
    for server in servers:
        server.faults.append("hang")

    # Whoever gets it hangs; so does the second one the first time, and no third is asked.
    ended: list[Any] = []
    stuck = threading.Thread(target=lambda: ended.append(_ended(engine, prompts)))
    stuck.start()
    while sum(len(server.faults) for server in servers):
        time.sleep(0.005)
    (found,) = engine.run_for(prompts, LIVE)

    assert found.text == local[0].text
    assert engine._pool.hedging.made >= 1  # noqa: SLF001
    assert [endpoint.state for endpoint in engine.endpoints] == [State.READY] * 2
    engine.close()
    stuck.join(10)
    assert ended == ["CancelledError"]


def test_the_first_answer_wins_and_the_other_call_is_cut(
    new_server: NewServer, new_engine: NewEngine, local: list[Completion], monkeypatch: pytest.MonkeyPatch
) -> None:
    outrun: list[str] = []
    monkeypatch.setattr(Endpoint, "outrun", lambda endpoint: outrun.append(endpoint.url))
    servers, engine, prompts = practised(new_server, new_engine, 0.5)
    outrun.clear()
    servers[0].faults.append("hang")
    while servers[0].faults:
        (found,) = engine.run_for(prompts, LIVE)

    assert found.text == local[0].text
    assert engine._pool.hedging.made >= 1  # noqa: SLF001
    assert [len(endpoint.calls) for endpoint in engine.endpoints] == [0, 0]
    assert not any(endpoint.faults for endpoint in engine.endpoints)
    assert servers[0].url in outrun


def test_a_server_that_was_outrun_is_asked_last_for_a_while() -> None:
    async def main() -> None:
        connection: Any = None
        slow, other = (Endpoint(url, connection, 4, Waits(first_busy_s=0.02)) for url in ("a", "b"))
        other.calls.add(asyncio.create_task(asyncio.sleep(0)))
        assert slow.load < other.load
        slow.outrun()
        assert other.load < slow.load
        await asyncio.sleep(0.03)
        assert slow.load < other.load

    asyncio.run(main())


def test_background_calls_and_calls_without_a_share_are_made_once(new_server: NewServer, new_engine: NewEngine) -> None:
    for share, context in ((0.5, BatchContext({}, is_live=False)), (0.0, LIVE)):
        servers, engine, prompts = practised(new_server, new_engine, share)
        for server in servers:
            server.delay_s = 0.1
        before = sum(len(server.posts) for server in servers), engine._pool.hedging.made  # noqa: SLF001
        engine.run_for(prompts, context)

        assert sum(len(server.posts) for server in servers) == before[0] + 1
        assert engine._pool.hedging.made == before[1]  # noqa: SLF001


def test_p1_p3_p5_a_storm_with_second_calls_loses_and_changes_no_verdict(
    new_server: NewServer, new_engine: NewEngine, local: list[Completion], monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = [new_server() for _ in range(3)]
    engine = new_engine(*servers, prompts_per_call=4, calls=3, timeout_s=0.15, hedge_share=0.5)
    monkeypatch.setattr(engine, "run", lambda prompts: engine.run_for(prompts, LIVE))
    for _ in range(ENOUGH):
        engine._pool.hedging.answered(0.001)  # noqa: SLF001 - all are slow
    judge = Judge(LocalGuard(engine), max_attempts=3, max_crashes=3, new_backoff=lambda: Backoff(0.002, 0.02))

    for seed in range(5):
        rng = random.Random(seed)
        for server in servers:
            server.delay_s = rng.choice((0.0, 0.0, 0.02))
        answers = asyncio.run(storm(rng, servers, judge))
        assert answers == [completion.text for completion in local], f"seed {seed}"
    assert engine._pool.hedging.made > 0  # noqa: SLF001


def test_p11_each_call_carries_the_trace_of_its_batch_and_known_texts_carry_none(
    new_server: NewServer, new_engine: NewEngine
) -> None:
    server = new_server()
    engine = new_engine(server, prompts_per_call=2)
    before = len(server.posts)
    engine.run_for(prompts_of(engine, 4), BatchContext(TRACE, is_live=True))
    engine.run(prompts_of(engine, 2))
    traced = [request.headers.get("traceparent") for request in server.posts]

    assert traced[:before] == [None] * before
    assert traced[before:] == [TRACE["traceparent"]] * 2 + [None]
    assert server.posts[before].headers["tracestate"] == "vendor=1"


def test_a_replica_says_whose_batch_it_is_and_whether_a_live_message_is_in_it(
    engine: PretendEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[BatchContext] = []

    def run_for(prompts: Any, context: BatchContext) -> list[Completion]:
        seen.append(context)
        return engine.run(prompts)

    monkeypatch.setattr(engine, "run_for", run_for)
    replica = replica_of(engine)
    asyncio.run(replica.judge(REQUESTS[:1]))
    asyncio.run(replica.judge_background(REQUESTS[1:2]))

    assert [context.is_live for context in seen] == [True, False]
    assert [dict(context.carrier) for context in seen] == [{}, {}]


def _ended(engine: RemoteEngine, prompts: list[PreparedPrompt]) -> str:
    try:
        engine.run_for(prompts, LIVE)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it ends
        return type(error).__name__
    return "answered"
