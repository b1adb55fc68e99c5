"""One Kafka server: its properties file, its start, its signals, and asking it whether it is ready.

Knows nothing of the other servers of a cluster.
"""

from __future__ import annotations

import signal
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

from tests.kafka.distribution import jars
from tests.maven import java
from tests.server_process import ServerProcess

# C1 only and the serial collector: on two shared cores a short-lived broker spends its time compiling, not serving.
_JVM = ("-Xmx320m", "-Xms96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto")
_LOG_LEVEL = "-Dorg.apache.logging.log4j.level=WARN"
_START_TIMEOUT_S = 90.0


class Broker:
    """A combined broker and controller whose plaintext listener is at `port`."""

    def __init__(self, directory: Path, port: int, properties: dict[str, str], *, detached: bool) -> None:
        self.directory = directory
        self.port = port
        directory.mkdir(parents=True, exist_ok=True)
        self._process = ServerProcess(f"Kafka in {directory}", directory / "server.log", detached=detached)
        self._formatting = False
        lines = (f"{key}={value}".replace("\\", "\\\\") for key, value in properties.items())
        self._file.write_text("\n".join(lines) + "\n", encoding="utf-8")

    @property
    def pid(self) -> int | None:
        """The server's process id while it has not been reaped."""
        return self._process.pid

    @property
    def _file(self) -> Path:
        return self.directory / "server.properties"

    def format(self, cluster_id: str, extra: Sequence[str]) -> None:
        """Begin to format the storage; start() waits for it. A storage that is already formatted stays."""
        if not (self.directory / "data" / "meta.properties").exists():
            self._spawn("kafka.tools.StorageTool", ["format", "-t", cluster_id, "-c", str(self._file), *extra])
            self._formatting = True

    def start(self) -> None:
        """Start the server; it is not ready before wait_ready() has returned."""
        if self._formatting:
            self._process.wait_done(_START_TIMEOUT_S)
        self._formatting = False
        self._spawn("kafka.Kafka", [str(self._file)])

    def wait_ready(self, brokers: int) -> None:
        """Wait until this server answers and knows of `brokers` live ones. Raises RuntimeError with the log's tail."""
        self._process.wait_ready(lambda: live_brokers(self.port) >= brokers, _START_TIMEOUT_S)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server, if it runs."""
        self._process.signal(number)

    def wait_gone(self) -> None:
        """Wait until the server has ended; one that does not end on its own is killed."""
        self._process.wait_gone()

    def _spawn(self, main_class: str, arguments: Sequence[str]) -> None:
        command = [java(), *_JVM, _LOG_LEVEL, "-cp", f"{jars()}/*", main_class, *arguments]
        self._process.spawn(command, cwd=self.directory)


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
