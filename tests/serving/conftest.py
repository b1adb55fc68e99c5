"""Replicas that leave the test process's logs and providers as they are, and telemetry into memory."""

from collections.abc import Callable

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint

from tests.serving.pretend_engine import PretendEngine, Spans
from workers.serving import guard_replica
from workers.telemetry import Tracing

Measured = Callable[[], dict[str, float]]


@pytest.fixture(autouse=True)
def _log_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_replica, "configure_logging", lambda _: None)


@pytest.fixture
def engine() -> PretendEngine:
    return PretendEngine()


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    """Tracing into memory, for replicas made in the test."""
    made = Spans()
    monkeypatch.setattr(guard_replica, "start_tracing", lambda *_: Tracing(True, True, made.provider))
    get_tracer: Callable[[str], trace.Tracer] = made.provider.get_tracer
    monkeypatch.setattr(trace, "get_tracer", get_tracer)
    return made


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    """The sums of counters made in the test, by name."""
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
            if isinstance(point, NumberDataPoint)
        ]
        assert len(found) == len(dict(found)), "one series each"
        return dict(found)

    return sums
