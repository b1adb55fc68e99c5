"""Where chaos happens: three Kafka servers, and a proxy before each of them that can be made to misbehave.

Clients come in by one of three ways: `PLAINTEXT` past all proxies, for those who observe; `SHARED` for all workers;
`LONE` for one worker whose network shall fail alone. Holds no topics and no clients.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.chaos.toxiproxy import Toxiproxy
from tests.kafka.cluster import KafkaCluster
from tests.server_process import free_port

BROKERS = 3
DIRECT, SHARED, LONE = "PLAINTEXT", "SHARED", "LONE"
STALL_MS = 3_600_000
PROPERTIES = {
    "min.insync.replicas": "2",
    # Leaders move when a test moves them.
    "auto.leader.rebalance.enable": "false",
    # Two cores are shared by three servers.
    "num.network.threads": "2",
    "num.io.threads": "4",
    # Compaction within a test's time.
    "log.cleaner.backoff.ms": "200",
    "log.cleaner.dedupe.buffer.size": "4194304",
    "log.initial.task.delay.ms": "500",
}


class Site:
    """The cluster and its network. Use as a context manager.

    Args:
        folder: where toxiproxy's log goes.
    """

    def __init__(self, folder: Path) -> None:
        taken: set[int] = set()
        self._ports = {way: [free_port(taken) for _ in range(BROKERS)] for way in (SHARED, LONE)}
        self.kafka = KafkaCluster(BROKERS, properties=PROPERTIES, proxies=self._ports)
        self._networks = {way: Toxiproxy(folder) for way in self._ports}
        self._killed: set[int] = set()
        self._paused: set[int] = set()

    def __enter__(self) -> Self:
        with ExitStack() as begun:
            for network in self._networks.values():
                begun.enter_context(network)
            begun.enter_context(self.kafka)
            for way, ports in self._ports.items():
                for index, port in enumerate(ports):
                    self._networks[way].add(f"{way}-{index}", port, self.kafka.listening_port(index, way))
            self._running = begun.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    def bootstrap(self, way: str = DIRECT) -> str:
        """Bootstrap servers of a way in."""
        return self.kafka.bootstrap_for(way)

    @property
    def has_servers_missing(self) -> bool:
        """True while a server is killed or frozen."""
        return bool(self._killed or self._paused)

    def kill_broker(self, index: int) -> None:
        """End a server without warning."""
        self._killed.add(index)
        self.kafka.kill(index)

    def restart_broker(self, index: int) -> None:
        """Start a killed server again and wait until it serves."""
        self.kafka.restart(index)
        self._killed.discard(index)

    def pause_broker(self, index: int) -> None:
        """Freeze a server with all its connections open."""
        self._paused.add(index)
        self.kafka.pause(index)

    def resume_broker(self, index: int) -> None:
        """Let a frozen server go on."""
        self.kafka.resume(index)
        self._paused.discard(index)

    def slow(self, way: str, latency_ms: int, kilobytes_per_s: int) -> None:
        """Delay and throttle both directions."""
        for stream in ("upstream", "downstream"):
            self._toxic(way, "latency", stream, latency=latency_ms)
            self._toxic(way, "bandwidth", stream, rate=kilobytes_per_s)

    def stall(self, way: str) -> None:
        """Let nothing through in either direction and close nothing; what is under way arrives when cured."""
        for stream in ("upstream", "downstream"):
            self._toxic(way, "latency", stream, latency=STALL_MS)

    def swallow_answers(self, way: str) -> None:
        """Pass requests on and lose what the servers answer; ends with `cut`, as bytes are missing then."""
        self._toxic(way, "timeout", "downstream", timeout=0)

    def reset_connections(self, way: str, brokers: Iterable[int] = range(BROKERS)) -> None:
        """Answer with TCP resets, until cured."""
        self._toxic(way, "reset_peer", "downstream", brokers, timeout=0)

    def slow_close(self, way: str, delay_ms: int) -> None:
        """Close connections late, until cured."""
        self._toxic(way, "slow_close", "downstream", delay=delay_ms)

    def down(self, way: str) -> None:
        """Close all connections of a way and refuse new ones, until it is cut."""
        for index in range(BROKERS):
            self._networks[way].down(f"{way}-{index}")

    def add_silent_port(self) -> str:
        """Address of a server that accepts connections and requests and never answers."""
        port = free_port({port for ports in self._ports.values() for port in ports})
        name = f"silent-{port}"
        self._networks[LONE].add(name, port, self.kafka.listening_port(0, DIRECT))
        for stream in ("upstream", "downstream"):
            self._networks[LONE].toxic(name, "timeout", stream, timeout=0)
        return f"127.0.0.1:{port}"

    def cure(self, way: str) -> None:
        """No toxics any more; connections live on."""
        for index in range(BROKERS):
            self._networks[way].cure(f"{way}-{index}")

    def cut(self, way: str) -> None:
        """Close all connections; new ones are good."""
        self._networks[way].cut()

    def heal(self) -> None:
        """Everything runs again and no connection has a fault."""
        for network in self._networks.values():
            network.heal()
        for index in sorted(self._paused):
            self.resume_broker(index)
        for index in sorted(self._killed):
            self.restart_broker(index)

    def _toxic(
        self, way: str, kind: str, stream: str, brokers: Iterable[int] = range(BROKERS), **attributes: int
    ) -> None:
        for index in brokers:
            self._networks[way].toxic(f"{way}-{index}", kind, stream, **attributes)
