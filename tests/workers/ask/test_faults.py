"""Faults of callers and guard, mixed at random on a real socket: no verdict is invented, and no error has content.

The guard's process and Serve's controller are killed in `test_killed_on_serve.py`.
"""

import asyncio
import hashlib
import io
import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipelines.guard import GuardRequest
from schemas.errors import GuardCallFailedError, GuardCrashError, GuardUnavailableError
from tests.guards.scripted_guard import ScriptedGuard
from tests.workers.ask.ask_site import OFF, SECRET, said
from tests.workers.ask.test_server import free_port
from workers.ask import exchange
from workers.ask.exchange import STATUS
from workers.ask.lane import AskLane
from workers.settings.loading import load_settings
from workers.telemetry.log import configure_logging

KEY = "the-key"
REQUESTS = 240


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    configure_logging("DEBUG")
    return written


class FaultyGuard(ScriptedGuard):
    """Fails in every way that a guard has, at random."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(said, self._fault)
        self._rng = rng

    async def _fault(self, requests: Any) -> None:
        texts = [str(request) for request in requests if isinstance(request, GuardRequest)]
        match self._rng.randrange(12):
            case 0:
                raise GuardUnavailableError("gone")
            case 1:
                raise GuardCrashError("died")
            case 2:
                raise GuardCallFailedError("ValueError")
            case 3:
                raise ArithmeticError(f"ours, which quotes {texts}")
            case 4:
                await asyncio.sleep(9.0)  # longer than anybody waits
            case _:
                await asyncio.sleep(self._rng.random() / 100)


def request(body: bytes, key: str = KEY, length: int | None = None) -> bytes:
    head = (
        "POST /v1/moderations HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-request-timeout-seconds: 0.4\r\n"
        f"authorization: Bearer {key}\r\ncontent-length: {len(body) if length is None else length}\r\n\r\n"
    )
    return head.encode() + body


async def whole(sent: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(sent)
    return await reader.read()


async def cut(sent: bytes, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(sent[:-3])
    await writer.drain()
    return b""  # and it goes


async def slow(sent: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(sent[:-3])
    return await reader.read()


async def exchanged(port: int, wire: Any, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = b""
    try:
        got = await wire(sent, reader, writer)
    except ConnectionError:  # it was closed on a body that is too large
        pass
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
    return got


def planned(rng: random.Random) -> list[tuple[Any, bytes, list[str]]]:
    """How each request goes, its bytes, and its texts."""
    made = []
    for number in range(REQUESTS):
        kinds = rng.choices(("a threat to", "good morning", "how rude", "mumble"), (3, 5, 2, 0.4), k=rng.randint(1, 4))
        texts = [f"{kind} {SECRET} {number}.{place}" for place, kind in enumerate(kinds)]
        body = json.dumps({"input": texts}).encode()
        match rng.randrange(9):
            case 0:
                made.append((cut, request(body), texts))
            case 1:
                made.append((slow, request(body), texts))
            case 2:
                made.append((whole, request(body, key=SECRET), texts))
            case 3:
                made.append((whole, request(body[:-4] + SECRET.encode()), texts))
            case 4 if number % 4 == 0:
                made.append((whole, request(body * (10_000_000 // len(body))), texts))
            case _:
                made.append((whole, request(body), texts))
    return made


@pytest.mark.parametrize("seed", range(1))
def test_no_verdict_is_invented_and_no_error_has_content(
    seed: int, tmp_path: Path, logs: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "BODY_S", 0.1)
    rng = random.Random(seed)
    keys = tmp_path / "keys.yaml"
    keys.write_text(f"keys:\n  - sha256: {hashlib.sha256(KEY.encode()).hexdigest()}\n", encoding="utf-8")
    port = free_port()
    ask = {"port": port, "keys_file": keys}
    settings = load_settings(
        ask=ask, limits={"in_flight_records": 40}, delivery={"drain_timeout_s": 1, "chunk_size": 16}
    )
    plan = planned(rng)

    async def main() -> list[bytes]:
        lane = AskLane(settings, FaultyGuard(rng), OFF)
        await lane.start()
        try:
            async with asyncio.timeout(60):
                flood = plan[: REQUESTS // 3]
                got = await asyncio.gather(*(exchanged(port, wire, sent) for wire, sent, _ in flood))
                for first in range(REQUESTS // 3, REQUESTS, 8):
                    some = plan[first : first + 8]
                    got += await asyncio.gather(*(exchanged(port, wire, sent) for wire, sent, _ in some))
                return got
        finally:
            await lane.stop()

    ends = Counter()
    for (wire, _, texts), got in zip(plan, asyncio.run(main()), strict=True):
        head, _, body = got.partition(b"\r\n\r\n")
        if not got:
            ends[wire.__name__] += 1
            continue
        status = int(head.split()[1])
        answer = json.loads(body)
        if status == 200:
            for text, result in zip(texts, answer["results"], strict=True):
                assert result["flagged"] is (said(text) != said("good morning"))
                assert result["weir"]["verdict"]["severity"] in said(text)
            ends["answered"] += 1
        else:
            assert SECRET.encode() not in got
            assert status in STATUS.values()
            assert set(answer) == {"error"}
            ends[answer["error"]["code"]] += 1
    assert SECRET not in logs.getvalue()
    wanted = {"answered", "unauthorized", "invalid_json", "slow_body", "body_too_large", "cut", "overloaded"}
    assert wanted | {"unavailable", "internal", "unparsable_output"} <= set(ends), ends
