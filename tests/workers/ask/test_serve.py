"""`weir serve` as its users start it: a process, real Ray, the demo's model, and no Kafka."""

import json
import signal
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.server_process import ServerProcess, answers_ok, free_port

START_S, STOP_S = 180.0, 40.0


def ask(url: str, texts: list[str]) -> Any:
    request = urllib.request.Request(f"{url}/v1/moderations", json.dumps({"input": texts}).encode())
    with urllib.request.urlopen(request, timeout=STOP_S) as response:
        return json.load(response)


@pytest.mark.ray
def test_it_answers_and_a_stop_answers_what_is_under_way(tmp_path: Path) -> None:
    port = free_port(set())
    url = f"http://127.0.0.1:{port}"
    server = ServerProcess("weir serve", tmp_path / "log")
    server.spawn([sys.executable, "-m", "workers", "serve", "--model", "demo", "--port", str(port)])
    try:
        server.wait_ready(lambda: answers_ok(f"{url}/readyz"), START_S)
        safe = ask(url, ["good morning"])
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
    assert not answers_ok(f"{url}/healthz")
