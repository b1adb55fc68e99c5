"""Toxiproxy: TCP proxies whose connections can be slowed, stalled, cut and reset while they are in use.

Built once from its Go module into the cache folder. Knows nothing of Kafka.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.kafka.broker import die_with, free_port
from tests.kafka.distribution import CACHE, UnavailableError

MODULE, VERSION = "github.com/Shopify/toxiproxy/v2/cmd/server", "v2.5.0"
BUILD_TIMEOUT_S = 600
START_TIMEOUT_S = 20.0
CALL_TIMEOUT_S = 10.0


@functools.cache
def binary() -> Path:
    """The path of the server; built with Go when it is missing. Raises UnavailableError."""
    folder = CACHE / f"toxiproxy-{VERSION}"
    built = folder / "server"
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "toxiproxy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            _build(folder)
    return built


def _build(folder: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise UnavailableError("toxiproxy has not been built and there is no go on PATH to do it")
    # Beside its place and moved there when whole: a build that was broken off is not taken for a good one.
    unfinished = folder.with_suffix(".unfinished")
    environment = {**os.environ, "GOBIN": str(unfinished), "GOFLAGS": "-mod=mod"}
    command = [go, "install", f"{MODULE}@{VERSION}"]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"Go could not build toxiproxy in {BUILD_TIMEOUT_S} s") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UnavailableError(f"Go could not build toxiproxy: {last[:300]}")
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


class Toxiproxy:
    """One server process and its proxies. Use as a context manager.

    Args:
        folder: where its log goes.
    """

    def __init__(self, folder: Path) -> None:
        self._log = folder / "toxiproxy.log"
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._port = free_port(set())
        command = [str(binary()), "-host", "127.0.0.1", "-port", str(self._port)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, preexec_fn=die_with(os.getpid())
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self._call("GET", "version")
            except (OSError, urllib.error.URLError):
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError(f"toxiproxy did not start: {self._log.read_text()[-500:]}") from None
                time.sleep(0.02)
            else:
                return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def add(self, name: str, port: int, upstream_port: int) -> None:
        """Create a proxy that listens at `port`."""
        listen, upstream = f"127.0.0.1:{port}", f"127.0.0.1:{upstream_port}"
        self._call("POST", "proxies", {"name": name, "listen": listen, "upstream": upstream, "enabled": True})

    def toxic(self, proxy: str, kind: str, stream: str, **attributes: int) -> None:
        """Poison one direction of a proxy: `upstream` is what clients send, `downstream` what they receive.

        Args:
            proxy: its name.
            kind: latency, bandwidth, slow_close, timeout, reset_peer, slicer or limit_data.
            stream: upstream or downstream.
            attributes: as toxiproxy names them, e.g. `latency=50`.
        """
        body = {"name": f"{kind}_{stream}", "type": kind, "stream": stream, "attributes": attributes}
        self._call("POST", f"proxies/{proxy}/toxics", body)

    def cure(self, proxy: str) -> None:
        """Take all toxics of a proxy away; its connections live on."""
        for toxic in self._call("GET", f"proxies/{proxy}")["toxics"]:
            self._call("DELETE", f"proxies/{proxy}/toxics/{toxic['name']}")

    def down(self, proxy: str) -> None:
        """Close a proxy's connections and refuse new ones."""
        self._call("POST", f"proxies/{proxy}", {"enabled": False})

    def up(self, proxy: str) -> None:
        """Accept connections again."""
        self._call("POST", f"proxies/{proxy}", {"enabled": True})

    def heal(self) -> None:
        """All proxies up and without toxics."""
        self._call("POST", "reset", {})

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}/{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=CALL_TIMEOUT_S) as answer:
            text = answer.read()
        return json.loads(text) if text[:1] in (b"{", b"[") else text
