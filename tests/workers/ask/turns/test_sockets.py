"""Turns over WebSocket: a real server and a real client, many turns on one connection, and ends of all kinds."""

import asyncio
import hashlib
import http.client
import json
import socket
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, ValidationError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from pipelines.guard import Guard
from pipelines.turns.port import TurnPush
from schemas.errors import GuardUnavailableError
from tests.guards.scripted_guard import ScriptedGuard
from tests.guards.turn_judges import LetterJudge
from tests.workers.ask.ask_site import OFF, said
from tests.workers.ask.test_server import free_port
from workers.ask.lane import AskLane
from workers.ask.openapi import asyncapi
from workers.ask.turns import sockets
from workers.settings.loading import load_settings

ASKED = [{"role": "user", "content": "hello?"}]
GUARD = ScriptedGuard(said)


class Served:
    """A server on a port of its own.

    Args:
        judge: of turns.
        guard: of whole messages; None where that is off.
        settings: sections.
    """

    def __init__(self, judge: LetterJudge | None = None, *, guard: Guard | None = GUARD, **settings: Any) -> None:
        self.judge = judge or LetterJudge()
        self.port = free_port()
        ask = {"port": self.port, "stream": True, **settings.pop("ask", {})}
        delivery = {"drain_timeout_s": 5, "backoff_initial_s": 0.01, **settings.pop("delivery", {})}
        self.lane = AskLane(load_settings(ask=ask, delivery=delivery, **settings), guard, OFF, self.judge)

    def connect(self, **options: Any) -> Any:
        return connect(f"ws://127.0.0.1:{self.port}/v1/stream", compression=None, **options)

    def run(self, steps: Callable[["Served"], Coroutine[Any, Any, None]]) -> None:
        async def within() -> None:
            await self.lane.start()
            try:
                async with asyncio.timeout(20):
                    await steps(self)
            finally:
                await self.lane.stop()

        asyncio.run(within())


DOCUMENT = asyncapi()


def described(content: Any, *messages: str) -> Any:
    """What one of these messages of the AsyncAPI document is, and nothing else."""
    schemas = [DOCUMENT["components"]["messages"][name]["payload"] for name in messages]
    Draft7Validator({"oneOf": schemas, "components": DOCUMENT["components"]}).validate(content)
    return content


async def sent(client: ClientConnection, *frames: dict[str, Any]) -> list[Any]:
    """Frames, and as many answers."""
    for frame in frames:
        await client.send(json.dumps(described({"conversation_id": "c1", **frame}, "frame")))
    return [described(json.loads(await client.recv()), "answer", "refusal") for _ in frames]


def tokens(answer: Any) -> list[int]:
    return [token["index"] for token in answer["tokens"] if token["role"] == "assistant"]


FIRST = {"messages": ASKED, "seq": 0, "delta": "ab"}


def test_frames_have_answers_and_many_turns_share_a_connection() -> None:
    async def steps(served: Served) -> None:
        async with served.connect() as client:
            answers = await sent(client, FIRST, {"seq": 1, "delta": "c!"}, {**FIRST, "turn": 1, "delta": "!"})
            ones = [answer for answer in answers if answer["turn"] == 0]
            assert sorted(index for answer in ones for index in tokens(answer)) == [0, 1, 2, 3]
            assert ones[-1]["raised"]
            assert [answer["answers"] for answer in ones] == [0, 1]
            [end] = await sent(client, {"seq": 2, "delta": "", "final": True})
            assert (end["end"], tokens(end)) == ("final", [])

    Served().run(steps)


def test_what_is_said_is_the_same_for_every_way_to_cut_a_text() -> None:
    text = "an answer that has a ! in its middle, and ends."
    ids = set()

    async def steps(served: Served) -> None:
        for size in (1, 3, 50):
            async with served.connect() as client:
                pieces = [text[start : start + size] for start in range(0, len(text), size)]
                frames: list[dict[str, Any]] = [{"seq": number, "delta": piece} for number, piece in enumerate(pieces)]
                frames[0] |= {"messages": ASKED}
                frames[-1] |= {"final": True}
                answers = await sent(client, *frames)
            assert [index for answer in answers for index in tokens(answer)] == list(range(len(text)))
            [raised, end] = answers[-1]["verdicts"]
            assert (raised["offset"], end["offset"], end["raised"]) == (text.index("!") + 1, len(text), True)
            ids.add((raised["verdict_id"], end["verdict_id"]))
            assert served.lane.door is not None
            served.lane.door.stop()

    Served().run(steps)
    assert len(ids) == 1


def test_what_does_not_fit_is_told_and_the_connection_goes_on() -> None:
    async def steps(served: Served) -> None:
        async with served.connect() as client:
            await sent(client, FIRST)
            [gap, again] = await sent(client, {"seq": 2, "delta": "x"}, FIRST)
            assert (gap["error"]["code"], gap["error"]["expected"]["seq"], gap["seq"]) == ("gap", 1, 2)
            assert gap["conversation_id"] == "c1"
            assert (again["answers"], tokens(again)) == (0, [])
            await client.send("{")
            assert json.loads(await client.recv())["error"]["code"] == "invalid_json"
            await client.send(json.dumps({"seq": 0, "messages": ASKED}))
            assert json.loads(await client.recv())["error"]["message"] == "conversation_id: missing"
            [more] = await sent(client, {"seq": 1, "delta": "c"})
            assert tokens(more) == [2]

    Served().run(steps)


def test_a_connection_that_was_lost_goes_on_with_what_was_not_received() -> None:
    async def steps(served: Served) -> None:
        async with served.connect() as client:
            [answer] = await sent(client, FIRST)
            await client.send(json.dumps({"conversation_id": "c1", "seq": 1, "delta": "cd"}))
        served.judge.forget()
        async with served.connect() as client:
            [again] = await sent(client, {"seq": 1, "delta": "cd", "after": answer["after"]})
            assert tokens(again) == [2, 3]
            [by_text] = await sent(client, {"messages": ASKED, "offset": 0, "delta": "abcde", "after": 5})
            assert tokens(by_text) == [4]

    Served().run(steps)


def test_of_turns_that_the_server_forgot_a_connection_keeps_nothing() -> None:
    async def steps(served: Served) -> None:
        async with served.connect() as client:
            for turn in range(6):
                await sent(client, {**FIRST, "turn": turn, "final": True})
            [connection] = served.lane._web.sockets._open  # type: ignore[union-attr] # noqa: SLF001
            assert len(connection.has) <= 3

    Served(ask={"stream_turns": 2}).run(steps)


def test_a_stop_answers_what_was_taken_says_where_to_go_on_and_closes_with_1012() -> None:
    away = [True]

    def before(pushes: Sequence[TurnPush]) -> None:
        if away[0] and "cd" in pushes[0].text:
            raise GuardUnavailableError("gone")

    async def steps(served: Served) -> None:
        async with served.connect() as client:
            await sent(client, FIRST)
            await client.send(json.dumps({"conversation_id": "c1", "seq": 1, "delta": "cd"}))
            while len(served.judge.calls) < 2:
                await asyncio.sleep(0.01)
            stopping = asyncio.create_task(served.lane.stop())
            await asyncio.sleep(0.02)
            away[0] = False
            assert tokens(json.loads(await client.recv())) == [2, 3]
            place = {"conversation_id": "c1", "tenant": "default", "turn": 0, "seq": 2, "offset": 4, "after": 5}
            assert described(json.loads(await client.recv()), "resume") == {"resume": [place]}
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1012, "resume as was said")
            await stopping

    Served(LetterJudge(before)).run(steps)


def keys(folder: Path) -> Path:
    path = folder / "keys.yaml"
    digest = hashlib.sha256(b"games").hexdigest()
    path.write_text(yaml.safe_dump({"keys": [{"sha256": digest, "tenant": "games", "requests_per_minute": 2}]}))
    return path


def test_a_key_is_needed_and_its_limits_hold_for_frames(tmp_path: Path) -> None:
    async def steps(served: Served) -> None:
        with pytest.raises(InvalidStatus) as refused:
            await served.connect(additional_headers={"authorization": "Bearer other"})
        assert refused.value.response.status_code == 401
        assert json.loads(refused.value.response.body)["error"]["code"] == "unauthorized"
        async with served.connect(additional_headers={"authorization": "Bearer games"}) as client:
            assert (await sent(client, FIRST))[0]["tenant"] == "games"
            [_, refused_frame] = [*await sent(client, {"seq": 1, "delta": "c"}), *await sent(client, {"seq": 2})]
            assert (refused_frame["error"]["code"], refused_frame["retry_after_s"] > 0) == ("rate_limited", True)

    Served(ask={"keys_file": keys(tmp_path)}).run(steps)


@pytest.mark.parametrize(("message", "code"), [(b"bytes", 1003), ("x" * (10 << 20), 1009)])
def test_what_is_no_message_closes_the_connection_with_its_code(message: str | bytes, code: int) -> None:
    async def steps(served: Served) -> None:
        async with served.connect() as client:
            sending = asyncio.create_task(client.send(message))
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            await asyncio.gather(sending, return_exceptions=True)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == code
        async with served.connect() as client:
            assert tokens((await sent(client, FIRST))[0]) == [0, 1]

    Served().run(steps)


def test_whoever_does_not_read_is_not_read_either_and_is_left_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "SEND_S", 0.5)
    monkeypatch.setattr(sockets, "MOST_UNANSWERED", 8)

    async def steps(served: Served) -> None:
        slow = socket.create_connection(("127.0.0.1", served.port))
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        slow.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(
            slow,
            b"GET /v1/stream HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        )
        assert b" 101 " in await loop.sock_recv(slow, 4_096)
        frame = {"conversation_id": "c1", "messages": ASKED}
        for number in range(300):
            text = json.dumps({**frame, "seq": number, "delta": "x" * 1_000})
            frame.pop("messages", None)
            await loop.sock_sendall(slow, masked(text.encode()))  # the machine's own buffers hold them all
        while served.lane.open_sockets:
            await asyncio.sleep(0.02)
        judged = sum(len(push.text) for pushes in served.judge.calls for push in pushes)
        assert 0 < judged < 200_000
        slow.close()
        async with served.connect() as client:
            assert tokens((await sent(client, {**FIRST, "turn": 9}))[0]) == [0, 1]

    Served().run(steps)


def masked(content: bytes) -> bytes:
    """A text message of a client, with a mask of zeros."""
    head = bytes([0x81, 0x80 | 126]) + len(content).to_bytes(2, "big")
    return head + bytes(4) + content


def test_a_body_that_is_cut_off_takes_no_frame() -> None:
    async def steps(served: Served) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        body = json.dumps(FIRST).encode()
        writer.write(b"POST /v1/stream/c1 HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body[:9])
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        client = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
        await asyncio.to_thread(client.request, "GET", "/v1/stream/c1")
        assert (await asyncio.to_thread(client.getresponse)).status == 404
        client.close()

    Served().run(steps)


def test_where_only_turns_are_wanted_the_server_is_ready_without_another_guard() -> None:
    async def steps(served: Served) -> None:
        async with served.connect() as client:
            [answer] = await sent(client, FIRST)
        assert tokens(answer)
        got = await asyncio.to_thread(
            lambda: [
                plainly(served.port, *asked) for asked in (("GET", "/readyz"), ("GET", "/v1/models"), ("POST", "/rm"))
            ]
        )
        assert [status for status, _ in got] == [200, 200, 404]
        assert json.loads(got[1][1])["data"][0]["id"] == "Qwen/Qwen3Guard-Stream-0.6B"

    Served(guard=None).run(steps)


def plainly(port: int, method: str, path: str) -> tuple[int, bytes]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        client.request(method, path)
        answer = client.getresponse()
        return answer.status, answer.read()
    finally:
        client.close()


def test_the_asyncapi_document_holds_together() -> None:
    def references(node: Any) -> Any:
        if isinstance(node, dict):
            yield from [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            node = list(node.values())
        for child in node if isinstance(node, list) else []:
            yield from references(child)

    for reference in references(DOCUMENT):
        target: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
    assert DOCUMENT["channels"]["stream"]["address"] == "/v1/stream"
    with pytest.raises(ValidationError):
        described({"seq": 0, "delta": "a"}, "frame")
