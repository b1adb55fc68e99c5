"""A worker that starts while its brokers are down (P5): it waits, says so, and can be stopped."""

import threading

import pytest

from tests.guards.scripted_guard import ScriptedGuard
from tests.server_process import free_port
from tests.site import Broker, Site, wait_until


@pytest.fixture
def mock_bench(mock_broker: Broker) -> Site:
    """Topics on the mock cluster."""
    return Site(mock_broker)


def test_p5_a_worker_without_a_broker_waits_for_one_and_leaves_no_thread(
    mock_bench: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.kafka.connection.BOOTSTRAP_TIMEOUT_MS", 500)
    before = threading.active_count()
    nowhere = {"bootstrap_servers": f"127.0.0.1:{free_port(set())}", "api_version": None}
    worker = mock_bench.start(ScriptedGuard(), mock_bench.settings_with(kafka=nowhere))
    wait_until(lambda: caplog.text.count("start_held") == 2, "two attempts")

    assert (worker.failure, worker.stuck_reason()) == (None, None)
    assert worker.stop(20.0)
    assert worker.failure is None
    wait_until(lambda: threading.active_count() <= before, "the threads of the attempts to end")
    mock_bench.close()
