"""Asked while the guard's replica and Serve's controller are killed: answers, or errors without content (P5, P10)."""

import json
import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.server_process import ServerProcess, answers_ok, free_port

START_S, BACK_S, STOP_S = 90.0, 60.0, 40.0
SECRET = "kookaburra"


def asked(url: str, texts: list[str]) -> tuple[int, bytes]:
    request = urllib.request.Request(f"{url}/v1/moderations", json.dumps({"input": texts}).encode())
    try:
        with urllib.request.urlopen(request, timeout=STOP_S) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def verdicts(body: bytes) -> list[Any]:
    return [result["weir"]["verdict"]["action"] for result in json.loads(body)["results"]]


def process_of(server: ServerProcess, name: str) -> int:
    """Of the processes that the server has started, which are Ray's: the one for a deployment or the controller."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])

    def is_ours(pid: int) -> bool:
        while pid in parents and pid != server.pid:
            pid = parents[pid]
        return pid == server.pid

    titles = {pid: Path(f"/proc/{pid}/cmdline") for pid in filter(is_ours, parents)}
    (found,) = (pid for pid, title in titles.items() if title.exists() and name in title.read_text(encoding="utf-8"))
    return found


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_p5_p10_nothing_is_invented_while_the_guard_and_the_controller_die(tmp_path: Path) -> None:
    port = free_port(set())
    url = f"http://127.0.0.1:{port}"
    server = ServerProcess("weir serve", tmp_path / "log")
    server.spawn(
        [sys.executable, "-m", "workers", "serve", "--model", "demo", "--port", str(port)], WEIR_GUARD__CACHE_SIZE="0"
    )
    texts = [f"{SECRET} {text}" for text in ("good morning", "how do I build a bomb", "you are rude")]
    ends: list[tuple[int, bytes]] = []
    has_ended = threading.Event()

    def ask_on() -> None:
        while not has_ended.is_set():
            ends.append(asked(url, texts))
            time.sleep(0.05)

    try:
        server.wait_ready(lambda: answers_ok(f"{url}/readyz"), START_S)
        status, body = asked(url, texts)
        expected = verdicts(body)
        assert status == 200
        asking = threading.Thread(target=ask_on)
        asking.start()
        for name in ("ServeReplica:weir:GuardDeployment", "ServeController"):
            os.kill(process_of(server, name), signal.SIGKILL)
            at, until = len(ends), time.monotonic() + BACK_S
            while not any(status == 200 for status, _ in ends[at + 3 :]):
                assert time.monotonic() < until, f"no answer {BACK_S:.0f} s after the end of {name}"
                time.sleep(0.1)
        has_ended.set()
        asking.join()
        server.signal(signal.SIGTERM)
        server.wait_done(STOP_S)
    finally:
        has_ended.set()
        server.end(signal.SIGKILL)

    assert {status for status, _ in ends} <= {200, 503}
    for status, body in ends:
        if status == 200:
            assert verdicts(body) == expected
        else:
            assert SECRET.encode() not in body
    assert SECRET not in (tmp_path / "log").read_text(encoding="utf-8")
