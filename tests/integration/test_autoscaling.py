"""The Serve application on real Kafka: replicas that come and go with the load, and a model that is replaced under it.

The ledger is closed whatever came and went meanwhile.
"""

import time
import uuid
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from tests.kafka.cluster import KafkaCluster
from tests.workers.serving.paced_app import PER_SECOND
from tests.workers.serving.scaled_application import ScaledApplication
from tests.workers.serving.test_autoscaling_on_serve import SECTIONS
from workers.settings.loading import Settings, load_settings


def place_on(kafka: KafkaCluster) -> dict[str, dict[str, Any]]:
    """Sections for topics and a group of a test's own."""
    suffix = uuid.uuid4().hex[:8]
    names = {name: f"scaled-{name}-{suffix}" for name in ("events", "verdicts", "dead_letters")}
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap.split(","))
    admin.create_topics([NewTopic(name, 4, 1) for name in names.values()])
    admin.close()
    return {"kafka": {"bootstrap_servers": kafka.bootstrap, "group_id": f"scaled-{suffix}"}, "topics": names}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_p1_replicas_come_for_a_burst_and_a_ramp_and_go_when_nothing_comes(
    kafka: KafkaCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(**place_on(kafka), **SECTIONS)
    with ScaledApplication(settings, monkeypatch) as application:
        load = application.load
        application.until(lambda now: now.guards == 0, "no guard replica while nothing comes", 60)

        load.burst(3_000)  # half a minute of one replica: three times what the target leaves
        application.until(lambda now: now.guards >= 2, "more than one replica for the burst", 60)
        application.until_drained()
        application.until(lambda now: now.guards == 0, "none again", 90)

        for tenths in (6, 12, 18, 22):  # a ramp to 2.2 replicas
            load.rate = tenths / 10 * PER_SECOND
            begun = time.monotonic()
            application.until(lambda now, begun=begun: now.at > begun + 3, "the next step", 20)
        application.until(lambda now: now.guards_running >= 3, "three replicas at the top of the ramp", 90)
        load.rate = 0
        application.until(lambda now: now.guards == 0, "none at the end", 120)
        ledger = application.until_closed()
        sent = load.sent

    assert ledger.inputs == sent
    assert max(sample.guards for sample in application.samples) <= settings.autoscaling.max_replicas


@pytest.mark.slow
@pytest.mark.parametrize("surge", [0, 100], ids=["old ones stop first", "new ones start first"])
@pytest.mark.timeout(400)
def test_p1_a_new_revision_takes_over_under_load_and_verdicts_say_who_judged(
    kafka: KafkaCluster, monkeypatch: pytest.MonkeyPatch, surge: int
) -> None:
    place = place_on(kafka)

    def settings_with(revision: str) -> Settings:
        guard = {**SECTIONS["guard"], "revision": revision, "max_surge_percent": surge}
        return load_settings(**place, guard=guard, serve=SECTIONS["serve"], delivery=SECTIONS["delivery"])

    with ScaledApplication(settings_with("first"), monkeypatch) as application:
        load = application.load
        load.rate = 60
        application.until_judged_by("first")
        application.deploy(settings_with("second"))
        application.until_judged_by("second")
        application.wait_running()
        replaced = load.sent
        application.until(lambda _: load.sent > replaced + 60, "a second of what only the new one judges", 60)
        load.rate = 0
        ledger = application.until_closed()
        sent, found = load.sent, application.verdicts()

    assert (ledger.inputs, ledger.dead_letters) == (sent, 0)
    judged_by = {int(verdict["event_id"][1:]): verdict["provenance"]["revision"] for verdict in found}
    assert judged_by.keys() == set(range(1, sent + 1))
    assert set(judged_by.values()) == {"first", "second"}
    assert {judged_by[number] for number in range(replaced + 1, sent + 1)} == {"second"}
