"""The network of the scenarios: it can be poisoned, cured and cut, and a server of it that hangs is replaced."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.toxiproxy import Toxiproxy
from tests.server_process import free_port

PATIENCE_S = 0.5


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A server that sends back what it is sent."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(1024):
                connection.sendall(data)

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listening.getsockname()[1]
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()


@pytest.fixture
def network(_site_can_run: None, tmp_path: Path, echo_port: int) -> Iterator[tuple[Toxiproxy, int]]:
    """A proxy `p` before the server, and its port."""
    port = free_port(set())
    with Toxiproxy(tmp_path) as toxiproxy:
        toxiproxy.add("p", port, echo_port)
        yield toxiproxy, port


def answers(connection: socket.socket) -> bool:
    connection.settimeout(PATIENCE_S)
    connection.sendall(b"x")
    try:
        return connection.recv(1) == b"x"
    except TimeoutError:
        return False


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(30)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_silent_connection_gets_its_answer_when_cured(network: tuple[Toxiproxy, int]) -> None:
    toxiproxy, port = network
    with socket.create_connection(("127.0.0.1", port)) as connection:
        assert answers(connection)
        toxiproxy.toxic("p", "latency", "downstream", latency=3_600_000)
        assert not answers(connection)
        toxiproxy.cure("p")
        connection.settimeout(30)
        assert connection.recv(1) == b"x"


def test_a_proxy_that_is_cut_closes_its_connections_and_takes_new_ones(network: tuple[Toxiproxy, int]) -> None:
    toxiproxy, port = network
    toxiproxy.toxic("p", "timeout", "downstream", timeout=0)
    with socket.create_connection(("127.0.0.1", port)) as old:
        assert not answers(old)
        toxiproxy.cut()
        assert is_closed(old)
    with socket.create_connection(("127.0.0.1", port)) as new:
        assert answers(new)


def test_a_server_that_hangs_is_replaced_by_one_in_the_state_that_is_wanted(
    network: tuple[Toxiproxy, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    toxiproxy, port = network
    monkeypatch.setattr("tests.chaos.toxiproxy.CALL_TIMEOUT_S", PATIENCE_S)
    toxiproxy.signal(signal.SIGSTOP)
    toxiproxy.toxic("p", "timeout", "downstream", timeout=0)
    with socket.create_connection(("127.0.0.1", port)) as poisoned:
        assert not answers(poisoned)
    toxiproxy.signal(signal.SIGSTOP)
    toxiproxy.down("p")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    toxiproxy.heal()
    with socket.create_connection(("127.0.0.1", port)) as healed:
        assert answers(healed)
