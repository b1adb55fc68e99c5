"""Real Apache Kafka (KRaft) on the loopback interface: one broker or several, for tests and for `make kafka-up`.

Creates no topics and holds no client. `python -m tests.kafka.cluster up|down|status` keeps one running.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.cache import CACHE, UnavailableError
from tests.kafka import security
from tests.kafka.broker import Broker, live_brokers
from tests.kafka.distribution import available, jars
from tests.kafka.server_properties import advertised_port, server_properties
from tests.maven import java
from tests.server_process import free_port

__all__ = ["KafkaCluster", "available"]

_CLUSTER_ID = "V2VpckludGVncmF0aW9uMQ"
_STATE = CACHE / "kafka-up.json"


class KafkaCluster:
    """Kafka servers that live until close(), the end of the `with` block, or the end of this process."""

    def __init__(
        self,
        brokers: int = 1,
        directory: Path | None = None,
        properties: dict[str, str] | None = None,
        *,
        security: bool = False,
        authorizer: bool = False,
        auto_create_topics: bool = False,
        message_max_bytes: int | None = None,
        port: int | None = None,
        proxies: Mapping[str, Sequence[int]] | None = None,
        detached: bool = False,
    ) -> None:
        """Nothing happens before start().

        `directory` keeps the data (default: a temporary one, removed at the end); `properties` override the broker's;
        `port` fixes the first plaintext port, the others follow it; `detached` servers outlive this process.
        `proxies` adds plaintext listeners by name: clients are sent to the given ports, one per broker, where somebody
        has to pass their connections on to `listening_port`.
        """
        self._count = brokers
        self._kept = directory
        self._overrides = properties or {}
        self._secured = security
        self._authorizer = authorizer
        self._auto_create_topics = auto_create_topics
        self._message_max_bytes = message_max_bytes
        self._port = port
        self._proxies = proxies or {}
        self._detached = detached
        self._ports: list[dict[str, int]] = []
        self._brokers: list[Broker] = []
        self._directory: Path | None = None
        self._ca_file: Path | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def bootstrap(self) -> str:
        """Bootstrap servers of the plaintext listener."""
        return self.bootstrap_for("PLAINTEXT")

    def bootstrap_for(self, listener: str) -> str:
        """Bootstrap servers of a listener: PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL, or one of the proxies."""
        ports = (advertised_port(index, listener, self._ports, self._proxies) for index in range(self._count))
        return ",".join(f"127.0.0.1:{port}" for port in ports)

    def listening_port(self, index: int, listener: str) -> int:
        """The port that a server itself listens at."""
        return self._ports[index][listener]

    @property
    def ca_file(self) -> Path:
        """The CA in PEM that signed the servers' certificate."""
        assert self._ca_file is not None, "KafkaCluster(security=True) has a CA, once started"
        return self._ca_file

    @property
    def pids(self) -> list[int | None]:
        """Process ids of the servers; None for one that does not run."""
        return [broker.pid for broker in self._brokers]

    def client(self, listener: str = "PLAINTEXT", mechanism: str | None = None, user: str = "alice") -> dict[str, Any]:
        """kafka-python settings to reach a listener as a user of `security.USERS`."""
        ca_file = self._ca_file if self._secured else None
        settings = security.client_settings(listener, mechanism, user, ca_file)
        return {"bootstrap_servers": self.bootstrap_for(listener).split(","), **settings}

    def start(self) -> None:
        """Format and start all servers; returns when each knows all. Raises RuntimeError, UnavailableError."""
        java()
        jars()
        self._directory = self._kept or Path(tempfile.mkdtemp(prefix="weir-kafka-"))
        self._directory.mkdir(parents=True, exist_ok=True)
        if not self._detached:
            atexit.register(self.close)
        try:
            if self._secured:
                self._ca_file = security.make_certificates(self._directory)
            self._choose_ports()
            for index in range(self._count):
                folder = self._directory / f"broker-{index}"
                properties = self._properties(index, folder)
                port = self._ports[index]["PLAINTEXT"]
                self._brokers.append(Broker(folder, port, properties, detached=self._detached))
            for broker in self._brokers:
                broker.format(_CLUSTER_ID, security.format_arguments() if self._secured else ())
            for broker in self._brokers:
                broker.start()
            for broker in self._brokers:
                broker.wait_ready(self._count)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End all servers; with a directory of the caller's gracefully, otherwise at once and with their data."""
        for broker in self._brokers:
            broker.signal(signal.SIGCONT)
            broker.signal(signal.SIGTERM if self._kept else signal.SIGKILL)
        for broker in self._brokers:
            broker.wait_gone()
        self._brokers.clear()
        if self._directory is not None and not self._kept:
            shutil.rmtree(self._directory, ignore_errors=True)
        atexit.unregister(self.close)

    def stop(self, index: int) -> None:
        """Shut one server down as an operator does; its leaders move first."""
        self._brokers[index].signal(signal.SIGTERM)
        self._brokers[index].wait_gone()

    def kill(self, index: int) -> None:
        """End one server without any warning."""
        self._brokers[index].signal(signal.SIGKILL)
        self._brokers[index].wait_gone()

    def restart(self, index: int) -> None:
        """Start a stopped or killed server again on its old data and port, and wait until it serves."""
        self._brokers[index].start()
        running = sum(pid is not None for pid in self.pids)
        self._brokers[index].wait_ready(running)

    def pause(self, index: int) -> None:
        """Freeze one server: its connections stay open and nothing answers."""
        self._brokers[index].signal(signal.SIGSTOP)

    def resume(self, index: int) -> None:
        """Let a paused server go on."""
        self._brokers[index].signal(signal.SIGCONT)

    def _choose_ports(self) -> None:
        names = ["PLAINTEXT", "CONTROLLER", *(security.PROTOCOLS if self._secured else ()), *self._proxies]
        taken = {port for ports in self._proxies.values() for port in ports}
        for index in range(self._count):
            ports = {name: free_port(taken) for name in names}
            if self._port is not None:
                ports["PLAINTEXT"] = self._port + index
            self._ports.append(ports)

    def _properties(self, index: int, folder: Path) -> dict[str, str]:
        properties = server_properties(index, folder, self._ports, self._proxies)
        properties["auto.create.topics.enable"] = str(self._auto_create_topics).lower()
        if self._message_max_bytes is not None:
            properties["message.max.bytes"] = str(self._message_max_bytes)
        if self._secured:
            properties |= security.listener_properties(self._directory or folder)
        if self._authorizer:
            properties |= security.authorizer_properties()
        return properties | self._overrides


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _up(brokers: int, port: int) -> int:
    if (running := _running()) is not None:
        _say(running["bootstrap"])
        return 0
    shutil.rmtree(CACHE / "kafka-up", ignore_errors=True)
    cluster = KafkaCluster(brokers, CACHE / "kafka-up", port=port, detached=True)
    try:
        cluster.start()
    except (RuntimeError, UnavailableError) as error:
        sys.stderr.write(f"Kafka did not start: {error}\n")
        return 1
    _STATE.write_text(json.dumps({"bootstrap": cluster.bootstrap, "pids": cluster.pids, "port": port}))
    _say(cluster.bootstrap)
    return 0


def _running() -> dict[str, Any] | None:
    if not _STATE.exists():
        return None
    state: dict[str, Any] = json.loads(_STATE.read_text())
    state["pids"] = [pid for pid in state["pids"] if _is_ours(pid)]
    return state if state["pids"] else None


def _is_ours(pid: int) -> bool:
    """A process id may have passed to somebody else's process: only one that was started on our files counts."""
    try:
        return str(CACHE / "kafka-up").encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _down() -> int:
    state = _running()
    for number, patience_s in ((signal.SIGTERM, 20), (signal.SIGKILL, 5)):
        for pid in state["pids"] if state is not None else ():
            if _is_ours(pid):
                os.kill(pid, number)
        deadline = time.monotonic() + patience_s
        while _running() is not None and time.monotonic() < deadline:
            time.sleep(0.1)
    shutil.rmtree(CACHE / "kafka-up", ignore_errors=True)
    _STATE.unlink(missing_ok=True)
    _say("Kafka is down")
    return 0


def _status() -> int:
    state = _running()
    if state is None:
        _say("Kafka is not up; `make kafka-up` starts it")
        return 1
    _say(f"{state['bootstrap']} ({live_brokers(state['port'])} live brokers)")
    return 0


def main() -> int:
    """Start, stop or show the Kafka that `make kafka-up` keeps."""
    parser = argparse.ArgumentParser(prog="python -m tests.kafka.cluster", description=main.__doc__)
    parser.add_argument("action", choices=("up", "down", "status"))
    parser.add_argument("--brokers", type=int, default=1)
    parser.add_argument("--port", type=int, default=9092)
    arguments = parser.parse_args()
    if arguments.action == "up":
        return _up(arguments.brokers, arguments.port)
    return _down() if arguments.action == "down" else _status()


if __name__ == "__main__":
    sys.exit(main())
