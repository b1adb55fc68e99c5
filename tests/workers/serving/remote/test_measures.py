"""What a remote engine tells of its servers: by server, and in the closed words of the table."""

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from schemas.errors import GuardUnavailableError
from tests.workers.serving.remote.conftest import CORPUS, NewEngine, NewServer
from workers.serving.remote.endpoint import State
from workers.telemetry.metrics.table import METRICS, REMOTE_STATES

Point = tuple[str, tuple[tuple[str, str], ...]]


def measured(reader: InMemoryMetricReader) -> dict[Point, float]:
    data = reader.get_metrics_data()
    return {
        (metric.name, tuple(sorted((str(name), str(value)) for name, value in (point.attributes or {}).items()))): (
            point.value  # type: ignore[union-attr]
        )
        for resource in (data.resource_metrics if data else [])
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }


def test_states_calls_and_faults_of_each_server_are_told(
    new_server: NewServer, new_engine: NewEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = InMemoryMetricReader()
    monkeypatch.setattr(metrics, "get_meter", MeterProvider([reader]).get_meter)
    server = new_server()
    engine = new_engine(server)
    url = ("server.address", server.url)
    server.faults.append("429 5")
    with pytest.raises(GuardUnavailableError):
        engine.judge(CORPUS[:3])

    found = measured(reader)
    states = {
        dict(attributes)["moderation.remote.state"]: value
        for (name, attributes), value in found.items()
        if name == "moderation.remote.state"
    }

    assert states == {"ready": 0, "waiting": 1, "down": 0, "refused": 0}
    assert tuple(State) == REMOTE_STATES
    assert found["moderation.remote.calls", (url,)] == 0
    assert found["moderation.remote.calls.limit", (url,)] == 5
    assert found["moderation.remote.faults", (("error.type", "busy"), url)] == 1
    assert {name for name, _ in found} <= {metric.name for metric in METRICS}
