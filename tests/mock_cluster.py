"""librdkafka's mock cluster for tests: the real protocol without Java, and no pause before a group's first turn.

The demo's broker, `workers.demo.broker`, is the same cluster. There a new group waits three seconds for members that
may come; confluent-kafka's Python has no word for that, the C library has.
"""

from __future__ import annotations

import ctypes
import signal
from types import TracebackType
from typing import Self

from confluent_kafka import cimpl

from workers.demo.broker import API_VERSION

PARTITIONS = 4
_PRODUCER = 0
_ERROR_BYTES = 512

_library = ctypes.CDLL(cimpl.__file__)  # finds what it is linked with, too
_library.rd_kafka_conf_new.restype = ctypes.c_void_p
_library.rd_kafka_new.restype = ctypes.c_void_p
_library.rd_kafka_new.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
_library.rd_kafka_mock_cluster_new.restype = ctypes.c_void_p
_library.rd_kafka_mock_cluster_new.argtypes = [ctypes.c_void_p, ctypes.c_int]
_library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
_library.rd_kafka_mock_cluster_bootstraps.argtypes = [ctypes.c_void_p]
_library.rd_kafka_mock_group_initial_rebalance_delay_ms.argtypes = [ctypes.c_void_p, ctypes.c_int32]
_library.rd_kafka_mock_topic_create.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]
_library.rd_kafka_mock_cluster_destroy.argtypes = [ctypes.c_void_p]
_library.rd_kafka_destroy.argtypes = [ctypes.c_void_p]


class MockCluster:
    """One broker on 127.0.0.1. Use as a context manager.

    Attributes:
        bootstrap_servers: host:port.
        api_version: protocol version to give to clients.
    """

    api_version = API_VERSION

    def __enter__(self) -> Self:
        said = ctypes.create_string_buffer(_ERROR_BYTES)
        # Its threads end at a signal that interrupts them (librdkafka 2.16), so they get none.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._client = _library.rd_kafka_new(_PRODUCER, _library.rd_kafka_conf_new(), said, _ERROR_BYTES)
            assert self._client, said.value.decode()
            self._cluster = _library.rd_kafka_mock_cluster_new(self._client, 1)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        self.bootstrap_servers = _library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        return self

    def create_topic(self, topic: str) -> None:
        """Create a topic of four partitions."""
        error = _library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), PARTITIONS, 1)
        assert error == 0, f"{topic}: {error}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _library.rd_kafka_mock_cluster_destroy(self._cluster)
        _library.rd_kafka_destroy(self._client)
