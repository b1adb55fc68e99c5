"""A guard replica over a remote engine: several calls at a time; a server's trouble is not the replica's (P5, P12)."""

import asyncio
import logging
import threading
import time
from typing import Any

import pytest

from pipelines.guard import GuardRequest
from schemas.errors import GuardCrashError, GuardUnavailableError
from tests.workers.serving.pretend_engine import PretendEngine, replica_of
from tests.workers.serving.remote.conftest import CORPUS, NewEngine, NewServer
from workers.serving.engine.completion import Completion
from workers.serving.guard_replica import MAX_FAILURES

REQUESTS = [GuardRequest(conversation, 1, {}) for conversation in CORPUS]


def test_several_calls_are_under_way_and_each_item_gets_its_own_answer(
    new_server: NewServer, new_engine: NewEngine, local: list[Completion]
) -> None:
    servers = [new_server(), new_server()]
    for server in servers:
        server.delay_s = 0.05
    replica = replica_of(new_engine(*servers, prompts_per_call=4, calls=3))
    seen = []

    async def main() -> Any:
        call = asyncio.create_task(replica.judge(REQUESTS))
        while not call.done():
            await asyncio.sleep(0.005)
            seen.append(sum(len(endpoint.calls) for endpoint in replica._engine.endpoints))  # type: ignore[attr-defined]  # noqa: SLF001
        return await call

    reply = asyncio.run(main())

    assert [answer.text for answer in reply.answers] == [completion.text for completion in local]
    assert max(seen) == 6
    assert reply.provenance.engine == "remote-vllm"


@pytest.mark.parametrize("kind", [GuardUnavailableError, GuardCrashError])
def test_p5_p12_what_a_server_ends_with_is_passed_on_and_no_reason_for_another_replica(
    kind: type[Exception], engine: PretendEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> list[Completion]:
        raise kind("no server takes it on")

    monkeypatch.setattr(engine, "run", fail)
    replica = replica_of(engine)
    with caplog.at_level(logging.CRITICAL):
        for _ in range(MAX_FAILURES + 1):
            for judge in (replica.judge, replica.judge_background):
                with pytest.raises(kind, match="no server takes it on") as caught:
                    asyncio.run(judge(REQUESTS[:1]))
                assert caught.value.__context__ is None

    asyncio.run(replica.check_health())


def test_a_replica_that_is_closed_lets_go_of_a_call_that_hangs(new_server: NewServer, new_engine: NewEngine) -> None:
    server = new_server()
    engine = new_engine(server, timeout_s=60.0)
    server.faults.append("hang")
    ends: list[str] = []

    def run() -> None:
        try:
            engine.judge(CORPUS[:2])
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends
            ends.append(type(error).__name__)

    waiting = threading.Thread(target=run)
    waiting.start()
    while not server.posts or not engine.endpoints[0].calls:
        time.sleep(0.005)
    engine.close()
    waiting.join(10)

    assert not waiting.is_alive()
    assert ends == ["CancelledError"]
    engine.close()


def test_an_engine_is_closed_although_a_task_takes_its_cancellation_for_a_time_out(
    new_server: NewServer, new_engine: NewEngine
) -> None:
    engine = new_engine(new_server())
    cancelled = 0

    async def stubborn() -> None:
        nonlocal cancelled
        while cancelled < 2:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled += 1

    asyncio.run_coroutine_threadsafe(stubborn(), engine._loop)  # noqa: SLF001
    engine.close()

    assert cancelled == 2
