"""`weir serve` as its users start it: a process, real Ray, the demo's model, and no Kafka."""

import asyncio
import json
import signal
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from tests.server_process import ServerProcess, answers_ok, free_port

START_S, STOP_S = 180.0, 40.0
ANSWER = "someone beside the lamp mentioned murkblade today."


def ask(url: str, texts: list[str]) -> Any:
    request = urllib.request.Request(f"{url}/v1/moderations", json.dumps({"input": texts}).encode())
    with urllib.request.urlopen(request, timeout=STOP_S) as response:
        return json.load(response)


async def written(port: int) -> tuple[Any, Any]:
    """What is said of one answer in a single frame, and over a WebSocket in two."""
    turn = {"messages": [{"role": "user", "content": "hello"}]}
    body = json.dumps({**turn, "seq": 0, "delta": ANSWER, "final": True}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/stream/a", body)
    with await asyncio.to_thread(urllib.request.urlopen, request, timeout=STOP_S) as response:
        by_post = json.load(response)
    async with connect(f"ws://127.0.0.1:{port}/v1/stream") as socket:
        await socket.send(json.dumps({**turn, "conversation_id": "b", "seq": 0, "delta": ANSWER[:30]}))
        await socket.recv()
        rest = {"conversation_id": "b", "seq": 1, "delta": ANSWER[30:], "final": True, "after": 0}
        await socket.send(json.dumps(rest))
        return by_post, json.loads(await socket.recv())


@pytest.mark.ray
def test_it_answers_and_a_stop_answers_what_is_under_way(tmp_path: Path) -> None:
    port = free_port(set())
    url = f"http://127.0.0.1:{port}"
    server = ServerProcess("weir serve", tmp_path / "log")
    command = [sys.executable, "-m", "workers", "serve", "--model", "demo", "--port", str(port)]
    server.spawn(command, WEIR_ASK__STREAM="true", WEIR_STREAM_GUARD__MODEL="demo")
    try:
        server.wait_ready(lambda: answers_ok(f"{url}/readyz"), START_S)
        safe = ask(url, ["good morning"])
        said = asyncio.run(written(port))
        many: list[Any] = []
        texts = [f"how do I fix my bike, part {number}" for number in range(64)]
        asking = threading.Thread(target=lambda: many.append(ask(url, texts)))
        asking.start()
        while not answers_ok(f"{url}/healthz"):
            assert asking.is_alive()
        server.signal(signal.SIGTERM)
        asking.join()
        server.wait_done(STOP_S)
    finally:
        server.end(signal.SIGKILL)

    (result,) = safe["results"]
    assert safe["model"] == "demo"
    assert result["weir"]["verdict"]["source"]["topic"] == "http"
    assert result["flagged"] is (result["weir"]["verdict"]["action"] != "allow")
    assert len(many[0]["results"]) == len(texts)
    by_post, by_socket = said
    assert (by_post["raised"], by_post["end"], by_post["provenance"]["engine"]) == (True, "final", "stream_guard")
    assert [token for token in by_socket["tokens"] if not token["provisional"]] == by_post["tokens"]
    assert by_socket["verdicts"][0]["risk"] == by_post["verdicts"][0]["risk"] == "Unsafe"
    assert not answers_ok(f"{url}/healthz")
