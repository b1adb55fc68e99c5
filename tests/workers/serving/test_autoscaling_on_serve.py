"""Autoscaling on real Ray Serve: the consumer's backlog drives the guard's replicas.

With one consumer, because the mock cluster does not move partitions well; tests/integration has several.
"""

import time
from typing import Any

import pytest

from tests.workers.serving.paced_app import PER_SECOND
from tests.workers.serving.scaled_application import Sample, ScaledApplication
from workers.demo.broker import EmbeddedBroker
from workers.settings.loading import load_settings

INTERVAL_S = 2.0
STEADY_S = 20.0
SECTIONS: dict[str, dict[str, Any]] = {
    "guard": {"batch_size": 20, "cpus_per_replica": 0.1, "model": "demo"},
    "serve": {"cpus_per_consumer": 0.1},
    "delivery": {"chunk_size": 16, "drain_timeout_s": 3},
    "autoscaling": {
        "enabled": True,
        "target_seconds_behind": 20,
        "min_replicas": 0,
        "max_replicas": 4,
        "replica_rate": PER_SECOND,
        "startup_s": 4,
        "interval_s": INTERVAL_S,
        "downscale_delay_s": 4,
        "downscale_to_zero_delay_s": 4,
        "max_consumers": 2,
        "replicas_per_consumer": 2,
    },
}


def is_steady(application: ScaledApplication, seconds: float) -> set[int]:
    """The numbers of guard replicas over so many seconds from now."""
    begun = time.monotonic()
    application.until(lambda now: now.at > begun + seconds, "time to pass", seconds + 10)
    return {sample.guards for sample in application.samples if sample.at > begun}


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_replicas_follow_a_step_and_stay_put_under_steady_load(monkeypatch: pytest.MonkeyPatch) -> None:
    def has(replicas: int) -> Any:
        return lambda now: now.guards == now.guards_running == replicas

    with EmbeddedBroker(("chat.events", "moderation.verdicts", "moderation.dlq")) as broker:
        kafka = {"bootstrap_servers": broker.bootstrap_servers, "api_version": broker.api_version}
        alone = {**SECTIONS, "autoscaling": {**SECTIONS["autoscaling"], "max_consumers": 1}}
        with ScaledApplication(load_settings(kafka=kafka, **alone), monkeypatch) as application:
            load = application.load
            application.until(lambda now: now.guards == 0, "no guard replica while nothing comes", 60)
            load.rate = 0.7 * PER_SECOND
            application.until(has(1), "one replica for a trickle", 30)
            is_steady(application, 10)

            load.rate = 2.6 * PER_SECOND
            decided_s = application.until(lambda now: now.guards > 1, "the decision for more", 30)
            application.until(lambda now: now.guards_running >= 3, "three replicas or more", 60)
            application.until_drained()  # a fourth replica may have been of use for that
            application.until(has(3), "three replicas", 60)
            steady = is_steady(application, STEADY_S)

            load.rate = 0.7 * PER_SECOND
            application.until(has(1), "one replica again", 60)
            load.rate = 0
            application.until(lambda now: now.guards == 0, "no replica again", 60)
            changes = application.changes()

    assert decided_s <= 2 * INTERVAL_S, changes
    assert steady == {3}, changes
    assert {Sample(*change).consumers for change in changes} == {1}
    assert max(Sample(*change).guards for change in changes) <= 4
