"""A real collector and a real Prometheus for tests; without them tests are skipped, or fail where they are required."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cache import UnavailableError
from tests.kafka.distribution import required
from tests.workers.telemetry.collector import Collector
from tests.workers.telemetry.collector_binary import binary
from tests.workers.telemetry.prometheus import Prometheus, tool

BUILD_TIMEOUT_S = 900


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs one of them before `-m` chooses; whichever comes first may wait until the collector is built."""
    for item in items:
        needs = {"_collector_can_run", "_prometheus_can_run"} & set(getattr(item, "fixturenames", ()))
        if needs and item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.collector)
            item.add_marker(pytest.mark.timeout(BUILD_TIMEOUT_S), append=False)


@pytest.fixture(scope="session")
def _collector_can_run() -> None:
    _need(binary)


@pytest.fixture(scope="session")
def _prometheus_can_run() -> None:
    _need(lambda: (tool("prometheus"), tool("promtool")))


def _need(find: Callable[[], object]) -> None:
    try:
        find()
    except UnavailableError as error:
        if required():
            pytest.fail(f"REQUIRE_INTEGRATION=1, but {error}", pytrace=False)
        pytest.skip(str(error))


@pytest.fixture
def collector(_collector_can_run: None, tmp_path: Path) -> Iterator[Collector]:
    """A collector that runs as long as the test."""
    with Collector(tmp_path) as running:
        yield running


@pytest.fixture
def prometheus(_prometheus_can_run: None, collector: Collector, tmp_path: Path) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the test's collector."""
    with Prometheus(tmp_path, collector.prometheus_port) as running:
        yield running
