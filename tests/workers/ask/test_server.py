"""The lane on a socket: it listens, finishes what is under way, and leaves the port."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from schemas.errors import ConfigurationError
from tests.guards.scripted_guard import Gate, ScriptedGuard
from tests.workers.ask.ask_site import OFF, said
from workers.ask import server
from workers.ask.lane import AskLane
from workers.ask.server import listening
from workers.settings.loading import load_settings


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def exchange(port: int, text: bytes) -> bytes:
    """What comes back for some bytes, to the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(text)
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


def asked(content: str) -> bytes:
    body = json.dumps({"input": content}).encode()
    return b"POST /v1/moderations HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )


def run_with(guard: Any, steps: Callable[[AskLane, int], Coroutine[Any, Any, None]], **ask: Any) -> None:
    async def within() -> None:
        port = free_port()
        lane = AskLane(load_settings(ask={"port": port, **ask}, delivery={"drain_timeout_s": 5}), guard, OFF)
        await lane.start()
        try:
            await steps(lane, port)
        finally:
            await lane.stop()

    asyncio.run(within())


def test_it_is_ready_once_a_canary_was_judged_and_answers() -> None:
    async def steps(lane: AskLane, port: int) -> None:
        async with asyncio.timeout(10):
            while not lane.is_ready():
                await asyncio.sleep(0.01)
        assert b"200 OK" in await exchange(port, b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert b'"flagged":true' in await exchange(port, asked("a threat"))
        assert not lane.has_failed

    run_with(ScriptedGuard(said), steps)


def test_it_is_not_ready_while_the_guard_hangs() -> None:
    gate = Gate()

    async def steps(lane: AskLane, port: int) -> None:
        assert b"503" in await exchange(port, b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert not lane.is_ready()

    run_with(ScriptedGuard(said, lambda _: gate.passed()), steps)


def test_a_stop_answers_what_is_under_way_and_leaves_the_port() -> None:
    gate = Gate()
    guard = ScriptedGuard(said, lambda requests: gate.passed() if text_is(requests, "wait") else at_once())

    async def steps(lane: AskLane, port: int) -> None:
        under_way = asyncio.create_task(exchange(port, asked("wait for a threat")))
        while not any("wait" in text for call in guard.calls for text in call):
            await asyncio.sleep(0.01)
        stopping = asyncio.create_task(lane.stop())
        await asyncio.sleep(0)
        gate.open()
        assert b'"flagged":true' in await under_way
        await stopping
        with pytest.raises(ConnectionRefusedError):
            await exchange(port, asked("late"))

    run_with(guard, steps)


def test_who_sends_no_head_or_half_of_one_is_cut_off_and_who_waits_for_an_answer_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "HEAD_S", 0.05)
    monkeypatch.setattr(server, "LOOK_S", 0.01)
    gate = Gate()

    async def steps(_: AskLane, port: int) -> None:
        waiting = asyncio.create_task(exchange(port, asked("hi")))
        async with asyncio.timeout(10):
            for sent in (b"", b"POST /v1/mod", b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /half"):
                with contextlib.suppress(ConnectionResetError):
                    assert (await exchange(port, sent)).count(b"HTTP/1.1 200") == sent.count(b"healthz")
            gate.open()
            assert b"200 OK" in await waiting

    run_with(ScriptedGuard(said, lambda _: gate.passed()), steps)


def test_who_does_not_read_an_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    deadline_s = 15.0  # so that none of the answers is a refusal, which is short, however busy the machine is
    monkeypatch.setattr(server, "READING_S", 0.3 - deadline_s - server.BODY_S)
    monkeypatch.setattr(server, "LOOK_S", 0.01)
    body = json.dumps({"input": ["hi"] * 256}).encode()
    sent = b"POST /v1/moderations HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)

    async def steps(lane: AskLane, port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(sent * 16)  # of which the answers are more than the kernel keeps
        connections = lane._server._server.server_state.connections  # noqa: SLF001
        async with asyncio.timeout(20):
            while not connections:
                await asyncio.sleep(0.01)
            while connections:
                await asyncio.sleep(0.01)
        assert not connections, "the place is free again"
        writer.transport.abort()
        assert b"200 OK" in await exchange(port, b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")

    run_with(ScriptedGuard(said), steps, deadline_s=deadline_s)


def test_an_address_that_cannot_be_had_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"ask\.host=127\.0\.0\.1, ask\.port={port}: Address already"):
            listening("127.0.0.1", port)


def text_is(requests: Any, word: str) -> bool:
    return any(word in request.conversation[-1]["content"] for request in requests)


async def at_once() -> None:
    """Takes no time."""
