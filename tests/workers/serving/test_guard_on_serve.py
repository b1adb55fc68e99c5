"""The guard deployment on real Ray Serve with the demo's model: equal prompts are judged once, and metrics arrive."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from ray import serve

from pipelines.guard import GuardAnswer, GuardRequest
from tests.ray_session import serve_session
from tests.workers.serving.conftest import CACHE_COUNTERS
from tests.workers.telemetry.otlp_collector import OtlpCollector
from workers.demo.corpus import examples
from workers.guard.client import GuardClient
from workers.serving.app import build_app

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-{:016x}-01"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpCollector]:
    """A collector that processes started in the test send their telemetry to, five times a second."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "200")
    with OtlpCollector() as collector:
        for name, value in collector.variables.items():
            monkeypatch.setenv(name, value)
        yield collector


@pytest.fixture
def guard(collector: OtlpCollector) -> Iterator[GuardClient]:  # noqa: ARG001 - its variables are to be set before
    """The application's guard deployment, without its consumers."""
    guard = {"model": "demo", "dtype": "float32", "max_new_tokens": 32, "compile": False, "cpus_per_replica": 0.5}
    application = build_app({"guard": guard})._bound_deployment.init_args[1]  # noqa: SLF001 - as in test_app
    with serve_session(2):
        handle: Any = serve.run(application, name="guard", route_prefix=None)
        yield GuardClient(handle, 60)


def cache_counts(collector: OtlpCollector) -> dict[str, int]:
    """What the cache counters stood at last."""
    counts = {}
    for path, body in list(collector.received):
        if path == "/v1/metrics":
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                    if metric.name in CACHE_COUNTERS:
                        counts[metric.name] = sum(point.as_int for point in metric.sum.data_points)
    return counts


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


@pytest.mark.ray
@pytest.mark.timeout(180)
def test_p7_equal_prompts_are_judged_once_on_serve_and_the_hit_rate_leaves_the_process(
    guard: GuardClient, collector: OtlpCollector
) -> None:
    unlike = [example.conversation for example in examples(3, 8, "held_out")]
    chunk = [
        GuardRequest(conversation, 1, {"traceparent": TRACEPARENT.format(number + 1)})
        for number, conversation in enumerate(unlike * 2)
    ]

    async def main() -> list[list[GuardAnswer]]:
        at_once = await asyncio.gather(*(guard.judge(chunk) for _ in range(4)))
        return [list(reply.answers) for reply in (*at_once, await guard.judge(chunk))]

    *at_once, again = asyncio.run(main())

    bare = [answer._replace(queue_ms=0, guard_ms=0, carrier={}) for answer in again]
    assert all(answer.error is None and answer.finished for answer in bare)
    assert len({answer.text for answer in bare}) > 1
    assert [
        answer._replace(queue_ms=0, guard_ms=0, carrier={}) for answers in at_once for answer in answers
    ] == bare * 4
    assert {(answer.queue_ms, answer.guard_ms) for answer in again} == {(0, 0)}
    batches = {answer.carrier["traceparent"] for answers in at_once for answer in answers}
    assert {answer.carrier["traceparent"] for answer in again} <= batches
    counted = {"moderation.cache.hits": 5 * 16 - len(unlike), "moderation.cache.misses": len(unlike)}
    until(lambda: cache_counts(collector) == counted, f"{counted} at the collector")
