"""Replicas that leave the test process's logs and providers as they are, and telemetry into memory."""

from collections.abc import Callable, Iterator

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint

from tests.workers.serving.pretend_engine import PretendEngine, replicas
from tests.workers.telemetry.recorded_tracing import RecordedTracing
from workers.serving import guard_replica

Measured = Callable[[], dict[str, float]]
CACHE_COUNTERS = ("moderation.cache.hits", "moderation.cache.misses")


@pytest.fixture(autouse=True)
def _log_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_replica, "configure_logging", lambda _: None)


@pytest.fixture(autouse=True)
def _replicas_end() -> Iterator[None]:
    yield
    while replicas:
        replicas.pop().close()


@pytest.fixture
def engine() -> PretendEngine:
    return PretendEngine()


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> RecordedTracing:
    """Tracing into memory, for replicas made in the test."""
    made = RecordedTracing()
    monkeypatch.setattr(guard_replica, "start_tracing", lambda *_: made)
    return made


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    """What the cache's counters made in the test stand at, by name."""
    reader = InMemoryMetricReader()
    monkeypatch.setattr(metrics, "get_meter", MeterProvider([reader]).get_meter)

    def sums() -> dict[str, float]:
        data = reader.get_metrics_data()
        found = [
            (metric.name, point.value)
            for resource in (data.resource_metrics if data else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
            if isinstance(point, NumberDataPoint) and metric.name in CACHE_COUNTERS
        ]
        assert len(found) == len(dict(found)), "one series each"
        return dict(found)

    return sums
