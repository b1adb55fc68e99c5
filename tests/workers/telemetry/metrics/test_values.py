"""What a stream worker's metrics say after runs whose outcome is known: in memory, from a worker on a real protocol."""

import asyncio
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from pipelines.guard import GuardRequest
from schemas.errors import GuardCallFailedError, GuardUnavailableError
from tests.guards.scripted_guard import SAFE, Gate, ScriptedGuard
from tests.mock_cluster import MockCluster
from tests.site import Broker, Site, event, wait_until
from tests.workers.telemetry.measured import Measured, series_of
from workers.telemetry.metrics.table import METRICS

UNSAFE = "Safety: Unsafe\nCategories: Violent, PII"
KAFKA = ("messaging.system", "kafka")


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with MockCluster() as running:
        yield Broker(running.bootstrap_servers, running.api_version, running.create_topic)


@pytest.fixture
def site(broker: Broker) -> Iterator[Site]:
    made = Site(broker)
    yield made
    made.close()


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    """Values by attributes of a metric of workers that are started in the test."""
    reader = InMemoryMetricReader()
    monkeypatch.setattr(metrics, "get_meter", MeterProvider([reader]).get_meter)
    return lambda name: series_of(reader, name)


def total(series: dict[tuple[tuple[str, object], ...], float], *wanted: tuple[str, object]) -> float:
    return sum(value for key, value in series.items() if set(wanted) <= set(key))


def test_outcomes_are_counted_by_severity_action_category_and_reason(site: Site, measured: Measured) -> None:
    answers = {"bad": UNSAFE, "odd": "Safety: Perhaps", "fine": SAFE}
    site.produce(
        [event(f"e{i}", text) for i, text in enumerate(["bad"] * 3 + ["odd"] * 2 + ["fine"] * 5)] + [b"{", None]
    )
    site.start(ScriptedGuard(answer=lambda text: answers[text]))
    site.wait_for(11)
    wait_until(lambda: sum(measured("moderation.records.completed").values()) == 12, "the one with nothing to judge")

    verdicts = measured("moderation.verdicts")
    assert verdicts == {
        (("moderation.action", "block"), ("moderation.severity", "Unsafe")): 3,
        (("moderation.action", "allow"), ("moderation.severity", "Safe")): 5,
    }
    assert measured("moderation.verdict.categories") == {
        (("moderation.category", "Violent"),): 3,
        (("moderation.category", "PII"),): 3,
    }
    assert measured("moderation.dead_letters") == {
        (("error.type", "unparsable_output"), ("moderation.stage", "parse")): 2,
        (("error.type", "invalid_json"), ("moderation.stage", "decode")): 1,
    }
    assert measured("moderation.records.skipped") == {
        (("moderation.reason", "blank_text"),): 0,
        (("moderation.reason", "tombstone"),): 1,
    }
    sent = measured("messaging.client.sent.messages")
    assert total(sent, ("messaging.destination.name", site.names[1])) == 8
    assert total(sent, ("messaging.destination.name", site.names[2])) == 3
    assert sum(measured("moderation.records.completed").values()) == 12
    (consumed,) = measured("messaging.client.consumed.messages").items()
    assert consumed == (
        (
            ("messaging.consumer.group.name", site.settings.kafka.group_id),
            ("messaging.destination.name", site.names[0]),
            ("messaging.operation.name", "poll"),
            KAFKA,
        ),
        12,
    )


def test_what_is_in_flight_is_seen_while_it_is_and_gone_after(site: Site, measured: Measured) -> None:
    gate = Gate()

    async def hold(_: Sequence[GuardRequest]) -> None:
        await gate.passed()

    site.produce([event(f"e{i}", "hello") for i in range(40)])
    settings = site.settings_with(limits={"in_flight_records": 16})
    worker = site.start(ScriptedGuard(script=hold), settings)
    wait_until(lambda: worker.is_full, "the limit")
    wait_until(lambda: measured("moderation.backlog") == {(): 40}, "the whole backlog")

    assert measured("moderation.in_flight.records") == {(): worker.in_flight}
    assert measured("moderation.in_flight.bytes")[()] > 100
    assert measured("moderation.in_flight.tokens")[()] >= 16
    assert measured("moderation.intake.paused") == {(): 1}
    assert measured("moderation.partitions") == {(): 4}
    assert 0 < measured("moderation.oldest_unfinished.age")[()] < 60
    assert measured("moderation.commit.lag") == {(): worker.in_flight}, "nothing is committed yet"

    gate.open()
    site.wait_for(40)
    wait_until(lambda: measured("moderation.commit.lag") == {(): 0}, "everything to be committed")
    wait_until(lambda: measured("moderation.backlog") == {(): 0}, "an empty backlog")
    assert measured("moderation.in_flight.records") == {(): 0}
    assert measured("moderation.intake.paused") == {(): 0}
    assert measured("moderation.oldest_unfinished.age") == {(): 0}
    durations = measured("messaging.client.operation.duration")
    assert total(durations, ("messaging.operation.name", "send")) > 0
    assert total(durations, ("messaging.operation.name", "commit")) > 0
    assert total(measured("moderation.rebalances"), ("moderation.rebalance.event", "assigned")) == 1


def test_calls_that_are_tried_again_are_counted_by_what_failed_them(site: Site, measured: Measured) -> None:
    failures = [GuardUnavailableError("gone"), GuardUnavailableError("gone"), GuardCallFailedError("oops")]

    async def fail_at_first(_: Sequence[GuardRequest]) -> None:
        await asyncio.sleep(0)
        if failures:
            raise failures.pop()

    site.produce([event("e0"), event("e1")])
    site.start(ScriptedGuard(script=fail_at_first), site.settings_with(delivery={"chunk_size": 1}))
    site.wait_for(2)

    calls = measured("moderation.guard.calls")
    assert calls[("error.type", "unavailable"),] == 2
    assert calls[("error.type", "failed"),] == 1
    assert calls[("error.type", "crashed"),] == 0
    assert calls[()] >= 2
    assert sum(measured("messaging.process.duration").values()) == 2


def test_an_open_breaker_is_seen_with_its_cause(site: Site, measured: Measured) -> None:
    breaker = {"consecutive_failures": 5}
    site.produce([event(f"e{i}") for i in range(20)])
    worker = site.start(ScriptedGuard(answer=lambda _: "nonsense"), site.settings_with(breaker=breaker))
    wait_until(lambda: worker.breaker.is_open, "the breaker to open")

    assert measured("moderation.breaker.open") == {(): 1}
    causes = {key[0][1]: value for key, value in measured("moderation.breaker.causes").items()}
    assert causes.pop("consecutive_failures") == 1
    assert set(causes.values()) == {0}


@pytest.mark.parametrize("tenants", [(), ("games",), ("games", "music")])
def test_a_tenant_makes_series_only_if_it_is_listed(site: Site, measured: Measured, tenants: tuple[str, ...]) -> None:
    names = ["games"] * 3 + ["music"] * 2 + [f"t{i}" for i in range(30)]
    site.produce(
        [b'{"event_id": "e%d", "text": "hi", "tenant": "%s"}' % (i, name.encode()) for i, name in enumerate(names)]
    )
    site.start(ScriptedGuard(answer=lambda _: UNSAFE), site.settings_with(telemetry={"tenants": ",".join(tenants)}))
    site.wait_for(len(names))

    for metric, each in (("moderation.verdicts", 1), ("moderation.verdict.categories", 2)):
        counts: dict[object, float] = {}
        for key, value in measured(metric).items():
            tenant = dict(key).get("moderation.tenant")
            counts[tenant] = counts.get(tenant, 0) + value
        listed = {"games": 3, "music": 2}
        expected: dict[object, float] = {tenant: listed[tenant] * each for tenant in tenants}
        expected["_other" if tenants else None] = (35 - sum(listed[tenant] for tenant in tenants)) * each
        assert counts == expected


def test_p10_no_text_is_in_any_attribute(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = InMemoryMetricReader()
    monkeypatch.setattr(metrics, "get_meter", MeterProvider([reader]).get_meter)
    canary = "kanarienvogel"
    answers = {canary: canary, f"{canary} 2": UNSAFE}

    site.produce([event(canary, text) for text in answers] + [canary.encode()])
    site.start(ScriptedGuard(answer=lambda text: answers[text]))
    site.wait_for(3)
    data = reader.get_metrics_data()

    assert data is not None
    assert "moderation.verdicts" in data.to_json()
    assert canary not in data.to_json()


def test_every_metric_of_the_consumer_that_is_always_there_has_a_series(site: Site, measured: Measured) -> None:
    site.produce([event("e0"), event("e1", "bad"), b"{"])
    worker = site.start(ScriptedGuard(answer=lambda text: UNSAFE if text == "bad" else SAFE))
    site.wait_for(3)
    wait_until(lambda: worker.backlog.figures() is not None, "a look at the backlog")
    wait_until(lambda: sum(measured("messaging.client.operation.duration").values()) >= 2, "a commit")
    needs_a_baseline = {"moderation.drift.distance"}

    missing = {
        metric.name for metric in METRICS if metric.source == "stream" and not measured(metric.name)
    } - needs_a_baseline
    assert {name for name in missing if not name.startswith("moderation.shadow.")} == set()


def test_the_shadow_lane_tells_what_it_compared_and_what_it_left_out(site: Site, measured: Measured) -> None:
    shadow = {"enabled": True, "share": 1.0, "model": "candidate"}
    settings = site.settings_with(shadow=shadow)
    lane = site.start_shadow(settings, ScriptedGuard(answer=lambda text: UNSAFE if text == "bad" else SAFE))
    site.produce([event("e0"), event("e1", "bad"), event("e2"), b"{"])
    site.start(ScriptedGuard(), settings, shadow=lane)
    wait_until(lambda: lane.totals.agreed + lane.totals.disagreed == 3, "three comparisons")

    assert sum(measured("moderation.shadow.records").values()) == 3
    assert sorted(measured("moderation.shadow.pairs").values()) == [1, 2]
    assert sum(measured("moderation.shadow.differences").values()) == 3
    assert sum(measured("moderation.shadow.unpublished").values()) == 0
