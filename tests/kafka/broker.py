"""One Kafka server process: its properties file, its start, its signals, and asking it whether it is ready.

Knows nothing of the other servers of a cluster.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.kafka.distribution import jars, java

# C1 only and the serial collector: on two shared cores a short-lived broker spends its time compiling, not serving.
_JVM = ("-Xmx320m", "-Xms96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto")
_LOG_LEVEL = "-Dorg.apache.logging.log4j.level=WARN"
_START_TIMEOUT_S = 90.0
_STOP_TIMEOUT_S = 30.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
# Below Linux's ephemeral ports: a client that reconnects to a stopped broker's ephemeral port can connect to itself,
# and a broker that restarts there can find its port taken by somebody's outgoing connection.
_PORTS = range(15_000, 32_000)


class Broker:
    """A combined broker and controller whose plaintext listener is at `port`."""

    def __init__(self, directory: Path, port: int, properties: dict[str, str], *, detached: bool) -> None:
        self.directory = directory
        self.port = port
        self._detached = detached
        self._process: subprocess.Popen[bytes] | None = None
        self._formatting = False
        directory.mkdir(parents=True, exist_ok=True)
        lines = (f"{key}={value}".replace("\\", "\\\\") for key, value in properties.items())
        self._file.write_text("\n".join(lines) + "\n", encoding="utf-8")

    @property
    def pid(self) -> int | None:
        """The server's process id while it has not been reaped."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def _file(self) -> Path:
        return self.directory / "server.properties"

    @property
    def _log(self) -> Path:
        return self.directory / "server.log"

    def format(self, cluster_id: str, extra: Sequence[str]) -> None:
        """Begin to format the storage; start() waits for it. A storage that is already formatted stays."""
        if not (self.directory / "data" / "meta.properties").exists():
            arguments = ["format", "-t", cluster_id, "-c", str(self._file), *extra]
            self._process = self._spawn("kafka.tools.StorageTool", arguments)
            self._formatting = True

    def start(self) -> None:
        """Start the server; it is not ready before wait_ready() has returned."""
        if self._formatting and self._process is not None and self._process.wait(_START_TIMEOUT_S) != 0:
            raise RuntimeError(f"Kafka's storage tool failed: {self._tail()}")
        self._formatting = False
        self._process = self._spawn("kafka.Kafka", [str(self._file)])

    def wait_ready(self, brokers: int) -> None:
        """Wait until this server answers and knows of `brokers` live ones. Raises RuntimeError with the log's tail."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while (known := live_brokers(self.port)) < brokers:
            if self.pid is None:
                raise RuntimeError(f"Kafka in {self.directory} died: {self._tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"Kafka in {self.directory} knows {known} of {brokers} brokers: {self._tail()}")
            time.sleep(0.05)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server, if it runs."""
        if self.pid is not None:
            os.kill(self.pid, number)

    def wait_gone(self) -> None:
        """Wait until the server has ended; one that does not end on its own is killed."""
        if self._process is None:
            return
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _spawn(self, main_class: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        command = [java(), *_JVM, _LOG_LEVEL, "-cp", f"{jars()}/*", main_class, *arguments]
        # A session of its own: Ctrl-C in the terminal must reach the client under test, not the broker it drains to.
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=None if self._detached else die_with(os.getpid()),
            )

    def _tail(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(["", *lines[-25:]])


def die_with(parent: int) -> Callable[[], None]:
    """A `preexec_fn` that asks the kernel to kill a process when its parent is gone, however that ended.

    The kernel means the thread that starts the process: start clusters from a thread that outlives them.
    """

    def ask() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return ask


def live_brokers(port: int) -> int:
    """How many live brokers the server at `port` lists (a Metadata v4 request for no topic); 0 without an answer."""
    body = struct.pack(">hhih", 3, 4, 1, -1) + struct.pack(">ib", 0, 0)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(body)) + body)
            answer = connection.recv(16, socket.MSG_WAITALL)
    except OSError:
        return 0
    return int(struct.unpack(">iiii", answer)[3]) if len(answer) == 16 else 0


def free_port(taken: set[int]) -> int:
    """A port that nobody listens at and that is not in `taken`, where it is added."""
    for port in random.sample(_PORTS, 200):
        with socket.socket() as probe:
            if port not in taken and probe.connect_ex(("127.0.0.1", port)) != 0:
                taken.add(port)
                return port
    raise RuntimeError(f"no free port between {_PORTS.start} and {_PORTS.stop}")
