"""The demo's broker: librdkafka's own mock cluster, in this process, speaking the real Kafka protocol over TCP.

For a demonstration on one machine: it keeps 5 MiB of each partition in memory, and nothing outlives the process.
"""

import signal
from types import TracebackType
from typing import Self

from confluent_kafka import Producer

API_VERSION = "2.3"
_START_TIMEOUT_S = 10.0


class EmbeddedBroker:
    """A one-broker cluster on 127.0.0.1. Use as a context manager.

    Attributes:
        bootstrap_servers: host:port.
        api_version: protocol version to give to clients, since the mock cluster does not negotiate newer ones.
    """

    def __init__(self, topics: tuple[str, ...] = ()) -> None:
        # Its thread ends when a signal interrupts it (librdkafka 2.16), so signals are blocked for that thread.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._handle = Producer({"test.mock.num.brokers": 1, "log_level": 2, "bootstrap.servers": "mock"})
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        metadata = self._handle.list_topics(timeout=_START_TIMEOUT_S)
        self.bootstrap_servers = ",".join(f"{broker.host}:{broker.port}" for broker in metadata.brokers.values())
        self.api_version = API_VERSION
        for topic in topics:
            self.create_topic(topic)

    def create_topic(self, topic: str) -> None:
        """Create a topic of four partitions."""
        self._handle.list_topics(topic, timeout=_START_TIMEOUT_S)  # asking for a topic creates it

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the cluster; its clients' connections break."""
        del self._handle
