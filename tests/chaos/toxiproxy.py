"""Toxiproxy: TCP proxies whose connections can be slowed, stalled, cut and reset while they are in use.

Built once from its Go module into the cache folder. Knows nothing of Kafka.
"""

from __future__ import annotations

import functools
import json
import signal
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.cache import built_once
from tests.go_build import build_command
from tests.server_process import ServerProcess, answers_ok, free_port

PACKAGE, VERSION = "github.com/Shopify/toxiproxy/v2/cmd/server", "v2.12.0"
CALL_TIMEOUT_S = 3.0


@functools.cache
def binary() -> Path:
    """The path of the server; built with Go when it is missing. Raises UnavailableError."""
    return built_once(
        f"toxiproxy-{VERSION}", "server", lambda folder: build_command(PACKAGE, VERSION, folder / "server")
    )


class _Proxy(NamedTuple):
    listen: str
    upstream: str
    toxics: dict[str, dict[str, Any]]
    is_up: bool = True


class Toxiproxy:
    """One server process and its proxies. Use as a context manager.

    A connection that closes while a toxic is added or taken away can leave the server in a deadlock: in its link.go,
    `write` needs the lock to forget its link, and `RemoveToxic` holds it while it waits for that link's toxic. So a
    server that does not answer is replaced by another one in the state that is wanted, which cuts its connections.

    Args:
        folder: where its log goes.
    """

    def __init__(self, folder: Path) -> None:
        self._port = free_port(set())
        self._process = ServerProcess("toxiproxy", folder / f"toxiproxy-{self._port}.log")
        self._wanted: dict[str, _Proxy] = {}

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.end(signal.SIGKILL)

    def add(self, name: str, port: int, upstream_port: int) -> None:
        """Create a proxy that listens at `port`."""
        self._wanted[name] = _Proxy(f"127.0.0.1:{port}", f"127.0.0.1:{upstream_port}", {})
        self._create(name)

    def toxic(self, proxy: str, kind: str, stream: str, **attributes: int) -> None:
        """Poison one direction of a proxy: `upstream` is what clients send, `downstream` what they receive.

        Args:
            proxy: its name.
            kind: latency, bandwidth, slow_close, timeout, reset_peer, slicer or limit_data.
            stream: upstream or downstream.
            attributes: as toxiproxy names them, e.g. `latency=50`.
        """
        name = f"{kind}_{stream}"
        body = {"name": name, "type": kind, "stream": stream, "attributes": attributes}
        self._wanted[proxy].toxics[name] = body
        self._change("POST", f"proxies/{proxy}/toxics", body)

    def cure(self, proxy: str) -> None:
        """Take all toxics of a proxy away; its connections live on."""
        toxics = self._wanted[proxy].toxics
        for name in list(toxics):
            del toxics[name]
            self._change("DELETE", f"proxies/{proxy}/toxics/{name}")

    def down(self, proxy: str) -> None:
        """Close a proxy's connections and refuse new ones."""
        self._enable(proxy, False)

    def heal(self) -> None:
        """All proxies up and without toxics; connections live on."""
        for name in self._wanted:
            self.cure(name)
            if not self._wanted[name].is_up:
                self._enable(name, True)

    def cut(self) -> None:
        """Close all connections; new ones are good, as all proxies are then up and without toxics."""
        for name, proxy in self._wanted.items():
            self._wanted[name] = _Proxy(proxy.listen, proxy.upstream, {})
        self._replace()

    def signal(self, number: signal.Signals) -> None:
        """Send the server a signal."""
        self._process.signal(number)

    def _replace(self) -> None:
        self._process.end(signal.SIGKILL)
        self._start()
        for name in self._wanted:
            self._create(name)

    def _start(self) -> None:
        self._process.spawn([str(binary()), "-host", "127.0.0.1", "-port", str(self._port)])
        self._process.wait_ready(lambda: answers_ok(f"http://127.0.0.1:{self._port}/version"))

    def _create(self, name: str) -> None:
        listen, upstream, toxics, is_up = self._wanted[name]
        self._call("POST", "proxies", {"name": name, "listen": listen, "upstream": upstream, "enabled": is_up})
        for body in toxics.values():
            self._call("POST", f"proxies/{name}/toxics", body)

    def _enable(self, name: str, is_up: bool) -> None:
        self._wanted[name] = self._wanted[name]._replace(is_up=is_up)
        self._change("POST", f"proxies/{name}", {"enabled": is_up})

    def _change(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        """Have the server do what has been added to what is wanted; one that hangs is replaced."""
        try:
            self._call(method, path, body)
        except TimeoutError:
            sys.stdout.write(f"toxiproxy did not answer {method} {path}: replaced, connections are cut\n")
            self._replace()

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}/{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=CALL_TIMEOUT_S) as answer:
            answer.read()
