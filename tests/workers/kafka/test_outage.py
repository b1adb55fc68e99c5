"""Clients whose brokers answer nothing: they neither turn without a pause nor grow (P9), and go on with another one."""

import asyncio
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from math import inf
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from kafka import KafkaConsumer
from kafka.errors import KafkaTimeoutError
from kafka.future import Future
from kafka.net.connection import KafkaConnection
from kafka.net.manager import KafkaConnectionManager
from kafka.protocol.parser import KafkaProtocol

from tests.allocations import held_by
from tests.site import Broker, Site, event, wait_until
from workers.kafka import unbounded_waits
from workers.kafka.connection import group_consumer
from workers.kafka.patches import forget_wakes, unpark

KAFKA_CODE = ("*/kafka/*", "*/threading.py")
POLLS = 300


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """While this is not set, what servers answer is lost on the way."""
    let_through = threading.Event()
    let_through.set()
    received = KafkaConnection.data_received
    monkeypatch.setattr(
        KafkaConnection, "data_received", lambda self, data: received(self, data) if let_through.is_set() else None
    )
    return let_through


@pytest.fixture
def consumer(site: Site) -> Iterator[KafkaConsumer]:
    """A member of the group that has partitions and has read from them."""
    made = group_consumer(site.settings.kafka)
    made.subscribe([site.names[0]])
    made.partitions_for_topic(site.names[0])  # a leader without metadata assigns nothing
    site.produce([event("first")])
    wait_until(lambda: bool(made.poll(200)), "a first record")
    yield made
    made.close()


def test_p9_polls_without_any_answer_wait_and_leave_nothing_behind(
    consumer: KafkaConsumer, answers: threading.Event, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = 0
    poll_once = KafkaConsumer._poll_once  # noqa: SLF001

    def counted(self: KafkaConsumer, *args: object, **more: object) -> object:
        nonlocal rounds
        rounds += 1
        return poll_once(self, *args, **more)

    def poll(count: int) -> None:
        for _ in range(count):
            unpark(consumer)
            forget_wakes(consumer)
            consumer.poll(2)

    answers.clear()
    wait_until(lambda: consumer.poll(20) == {} and consumer._coordinator.time_to_next_heartbeat() == 0, "silence")  # noqa: SLF001
    monkeypatch.setattr(KafkaConsumer, "_poll_once", counted)
    tracemalloc.start()
    try:
        held = []
        for _ in range(4):
            poll(POLLS)
            held.append(held_by(*KAFKA_CODE))
    finally:
        tracemalloc.stop()
    # Some 50 kB come and go either way; what polls leave behind grows in every window.
    grown = min(after - before for before, after in pairwise(held))
    assert rounds < 4 * POLLS * 4, "a poll turns without a pause"
    assert grown < POLLS * 100, "each poll leaves something behind"

    answers.set()
    consumer._cluster.request_update()  # noqa: SLF001 - as it does by itself every ten seconds
    site.produce([event("second")])
    wait_until(lambda: bool(consumer.poll(200)), "a record after the outage")


def test_a_wait_that_was_in_vain_leaves_nothing_with_what_it_waited_for(consumer: KafkaConsumer) -> None:
    never = Future()
    manager = consumer._client._manager  # noqa: SLF001
    for _ in range(3):
        with pytest.raises(KafkaTimeoutError):
            consumer._net.run(manager.wait_for, never, 1)  # noqa: SLF001
    assert never._callbacks == never._errbacks == []  # noqa: SLF001

    never.success("here")
    assert consumer._net.run(manager.wait_for, never, 1) == "here"  # noqa: SLF001
    assert consumer._coordinator.time_to_next_poll() == inf  # noqa: SLF001


def test_a_frozen_server_costs_a_new_client_one_try_and_not_all_of_its_time(
    mock_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = {"socket_connection_setup_timeout_ms": 100, "socket_connection_setup_timeout_max_ms": 100}
    monkeypatch.setattr(unbounded_waits, "CONNECT", waits)
    with socket.create_server(("127.0.0.1", 0)) as frozen:  # the system takes connections for it
        port = frozen.getsockname()[1]
        tried: list[int] = []

        def frozen_first(brokers: list[Any]) -> Any:
            tried.append(port)
            return next(broker for broker in brokers if (broker.port == port) == (len(tried) == 1))

        monkeypatch.setattr("kafka.net.manager.random.choice", frozen_first)
        servers = [f"127.0.0.1:{port}", mock_broker.bootstrap_servers]
        client = unbounded_waits.TidyClient(bootstrap_servers=servers, api_version=(2, 3))
        try:
            client._manager.bootstrap(20_000)  # noqa: SLF001 - which kafka-python would wait for, and fail
        finally:
            client.close()

    assert len(tried) == 2


def test_a_request_ends_by_the_silence_of_its_server_and_not_while_its_answer_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(KafkaConnectionManager, "_connect", AsyncMock())
    parser = KafkaProtocol(client_id="c")
    connection = SimpleNamespace(net=Mock(), parser=parser, _request_timed_out=(ended := Mock()))
    client = unbounded_waits.TidyClient(bootstrap_servers="127.0.0.1:1", api_version=(2, 3))
    request = (Future(), 100.0, 110.0)
    try:
        asyncio.run(client._manager._connect(SimpleNamespace(node_id="1"), connection))  # noqa: SLF001
    finally:
        client.close()
    assert connection._timeout_secs == 10.0  # noqa: SLF001

    parser.receive_bytes(b"\0\0\1\0 and the beginning of what is long")
    connection._request_timed_out(*request)  # noqa: SLF001
    ((_, look_again), _) = connection.net.call_at.call_args
    parser.receive_bytes(b", and more of it")
    look_again()
    assert not ended.called
    look_again()
    ended.assert_called_once_with(*request)
