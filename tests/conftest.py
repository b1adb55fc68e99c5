"""Real Kafka for the tests that are marked for it, topics of their own, and one line that says why it cannot run."""

from __future__ import annotations

import logging
import re
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.kafka.cluster import KafkaCluster, available
from tests.kafka.distribution import required

if TYPE_CHECKING:  # a bare GPU machine has no kafka-python
    from tests.site import Broker, Site

pytest_plugins = ["tests.leftovers", "tests.side_by_side"]
Topics = Callable[..., str]
_FOLDER = Path(__file__).parent / "integration"
_skipped: list[str] = []
# The same examples each time, so that no change fails by luck; `make test-properties` looks for others.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None)
hypothesis.settings.register_profile("search", deadline=None, max_examples=1_000)
hypothesis.settings.load_profile("same")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the integration folder before `-m` chooses."""
    for item in items:
        if item.path.is_relative_to(_FOLDER):
            item.add_marker(pytest.mark.integration)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once why the tier was skipped; with `--durations`, how long each folder took, its set-ups with it."""
    for reason in _skipped:
        terminalreporter.write_line(f"integration tier skipped: {reason}")
    if terminalreporter.config.option.durations is not None:
        _tell_folders(terminalreporter)


def _tell_folders(terminalreporter: pytest.TerminalReporter) -> None:
    seconds: dict[str, float] = defaultdict(float)
    tests: dict[str, int] = defaultdict(int)
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        if isinstance(report, pytest.TestReport):
            folder = report.nodeid.partition("::")[0].rpartition("/")[0]
            seconds[folder] += report.duration
            tests[folder] += report.when == "call"
    terminalreporter.section("seconds and tests of each folder")
    for folder in sorted(seconds, key=seconds.__getitem__, reverse=True):
        terminalreporter.write_line(f"{seconds[folder]:8.1f} s {tests[folder]:6d}  {folder}")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command that a test runs in this process sets the process's logging: not that of the tests after it."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = [
        handler for handler in root.handlers if handler in handlers or type(handler).__module__.startswith("_pytest")
    ]


@pytest.fixture(scope="session")
def _kafka_can_run() -> None:
    reason = available()
    if reason is not None and required():
        pytest.fail(f"REQUIRE_INTEGRATION=1, but {reason}", pytrace=False)
    if reason is not None:
        _skipped.append(reason)


@pytest.fixture(autouse=True)
def _needs_kafka(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("integration") is None:
        return
    request.getfixturevalue("_kafka_can_run")
    if _skipped:
        pytest.skip(_skipped[0])


@pytest.fixture(scope="session")
def kafka(_kafka_can_run: None) -> Iterator[KafkaCluster]:
    """One broker with a plaintext listener, shared by all tests: use `topics` and a group of your own."""
    if _skipped:
        pytest.skip(_skipped[0])
    with KafkaCluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def secured_kafka(_kafka_can_run: None) -> Iterator[KafkaCluster]:
    """One broker with all listeners and the users of tests.kafka.security, started by the first test that asks."""
    if _skipped:
        pytest.skip(_skipped[0])
    with KafkaCluster(security=True) as cluster:
        yield cluster


@pytest.fixture
def topics(request: pytest.FixtureRequest) -> Iterator[Topics]:
    """`topics("events", partitions=4)` creates a topic that no other test uses and returns its name.

    By default on `kafka`; `cluster=` names another one, `replication=` and `config=` go to the broker as they are.
    """
    from kafka.admin import (  # a bare GPU machine runs tests/workers/serving/engine without kafka-python
        KafkaAdminClient,
        NewTopic,
    )

    admins: dict[str, KafkaAdminClient] = {}
    stem = re.sub(r"[^A-Za-z0-9._-]", "-", request.node.name)[:80]

    def create(
        label: str = "topic",
        *,
        partitions: int = 1,
        replication: int = 1,
        config: dict[str, str] | None = None,
        cluster: KafkaCluster | None = None,
    ) -> str:
        name = f"{stem}.{label}.{uuid.uuid4().hex[:8]}"
        bootstrap = (cluster or request.getfixturevalue("kafka")).bootstrap
        if bootstrap not in admins:
            admins[bootstrap] = KafkaAdminClient(bootstrap_servers=bootstrap.split(","))
        admins[bootstrap].create_topics([NewTopic(name, partitions, replication, topic_configs=config or {})])
        return name

    yield create
    for admin in admins.values():
        admin.close()


@pytest.fixture(scope="session")
def mock_broker() -> Iterator[Broker]:
    """One mock cluster for all tests: librdkafka's, the real protocol without Java."""
    from tests.mock_cluster import MockCluster
    from tests.site import Broker

    with MockCluster() as running:
        yield Broker(running.bootstrap_servers, running.api_version, running.create_topic)


@pytest.fixture
def kafka_broker(kafka: KafkaCluster) -> Iterator[Broker]:
    """The one real broker of all tests, with an admin client of the test's own."""
    from kafka.admin import KafkaAdminClient, NewTopic

    from tests.site import Broker

    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap.split(","))
    yield Broker(kafka.bootstrap, None, lambda name: admin.create_topics([NewTopic(name, 4, 1)]))
    admin.close()


@pytest.fixture(params=["mock", pytest.param("kafka", marks=pytest.mark.integration)])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A test's own topics and workers, on each of the two brokers."""
    from tests.site import Site

    made = Site(request.getfixturevalue(f"{request.param}_broker"))
    yield made
    made.close()


@pytest.fixture
def kafka_site(kafka_broker: Broker) -> Iterator[Site]:
    """The same on the real broker only, for what the mock cluster cannot do; mark the test `integration`."""
    from tests.site import Site

    made = Site(kafka_broker)
    yield made
    made.close()
