"""A server that a test runs on the loopback interface: its port, its start, its signals, and its end with the test.

Knows nothing of what the server does.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

_STOP_TIMEOUT_S = 30.0
_TAIL_LINES = 25
# Below Linux's ephemeral ports: a client that reconnects to a stopped server's ephemeral port can connect to itself,
# and a server that restarts there can find its port taken by somebody's outgoing connection. Above those of Ray's
# workers, for the same reason.
_PORTS = range(20_000, 32_000)


class ServerProcess:
    """One process and those that followed it at the same place; its output goes to the end of one file.

    Args:
        name: what its errors call it.
        log: file of its output.
        detached: it outlives this process; otherwise it ends with it, however that ends.
    """

    def __init__(self, name: str, log: Path, *, detached: bool = False) -> None:
        self._name = name
        self._log = log
        self._detached = detached
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it has not been reaped."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def spawn(self, command: Sequence[str], *, cwd: Path | None = None, **environment: str) -> None:
        """Start a process, with `environment` added to ours; it is not ready before wait_ready() has returned."""
        # A session of its own: Ctrl-C in the terminal must reach the client under test, not the server it drains to.
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command if self._detached else dying_with_us(command),
                cwd=cwd,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_ready(self, is_ready: Callable[[], bool], within_s: float = 30.0) -> None:
        """Wait until the server says that it is ready. Raises RuntimeError with the log's tail."""
        deadline = time.monotonic() + within_s
        while not is_ready():
            if self.pid is None:
                raise RuntimeError(f"{self._name} died: {self._tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self._name} is not ready after {within_s:.0f} s: {self._tail()}")
            time.sleep(0.05)

    def wait_done(self, within_s: float) -> None:
        """Wait for the end of a process that does one thing. Raises RuntimeError when it fails."""
        if self._process is not None and self._process.wait(within_s) != 0:
            raise RuntimeError(f"{self._name} failed: {self._tail()}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it runs."""
        if self.pid is not None:
            os.kill(self.pid, number)

    def end(self, number: signal.Signals) -> None:
        """Send a signal that ends it, and wait until it has ended."""
        self.signal(number)
        self.wait_gone()

    def wait_gone(self) -> None:
        """Wait until it has ended; one that does not end on its own is killed."""
        if self._process is None:
            return
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tail(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(["", *lines[-_TAIL_LINES:]])


def answers_ok(url: str) -> bool:
    """Whether an HTTP server says 200 at `url`."""
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def dying_with_us(command: Sequence[str | Path]) -> list[str | Path]:
    """The command of a process that the kernel kills when this one is gone, however that ended.

    The kernel means the thread that starts the process: start servers from a thread that outlives them. A `preexec_fn`
    would do it, too, but then Python forks for real, and fork hooks of libraries with threads, as Ray's and Arrow's,
    have crashed the child before it became its command.
    """
    return ["setpriv", "--pdeathsig", "KILL", "--", *command]


def free_port(taken: set[int]) -> int:
    """A port that nobody listens at and that is not in `taken`, where it is added."""
    for port in random.sample(_PORTS, 200):
        with socket.socket() as probe:
            if port not in taken and probe.connect_ex(("127.0.0.1", port)) != 0:
                taken.add(port)
                return port
    raise RuntimeError(f"no free port between {_PORTS.start} and {_PORTS.stop}")
