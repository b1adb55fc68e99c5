"""Members with a name of their own: a restart in time moves nothing, and a name has one bearer."""

from collections.abc import Iterator

import pytest
from kafka import KafkaAdminClient
from kafka.errors import FencedInstanceIdError
from ray import serve

from tests.guards.scripted_guard import ScriptedGuard
from tests.integration.members import QUICK, Load
from tests.ray_session import serve_session
from tests.site import Site, wait_until
from workers.serving.app import APP_NAME, STREAM
from workers.serving.consumers.stream_replica import StreamReplica
from workers.settings.loading import Settings


def named(site: Site, name: str) -> Settings:
    """Settings of a member with a name, which may be away for ten seconds."""
    return site.settings_with(kafka={**QUICK, "session_timeout_ms": 10_000, "group_instance_id": name})


def test_a_restart_in_time_moves_no_partition_of_the_others(wide_site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    load = Load(wide_site)
    load.more(60)
    stays = wide_site.start(ScriptedGuard(), named(wide_site, "weir-0"))
    leaves = wide_site.start(ScriptedGuard(), named(wide_site, "weir-1"))

    def both_work() -> bool:
        load.more(10)
        return leaves.progress.completed > 20 and stays.progress.completed > 20

    wait_until(both_work, "both to work")
    assert leaves.stop(20.0)
    caplog.clear()
    load.more(60)
    back = wide_site.start(ScriptedGuard(), named(wide_site, "weir-1"))
    ledger = load.until_done(wide_site.settings)

    assert ledger.is_proven, ledger
    assert ledger.duplicates == 0
    assert back.progress.completed > 0
    assert "partitions_revoked" not in caplog.text
    assert caplog.text.count("partitions_assigned") == 1, "only the one that came back was given partitions"
    assert stays.failure is None


def test_a_second_bearer_of_a_name_takes_over_and_the_first_one_says_why_it_stops(wide_site: Site) -> None:
    load = Load(wide_site)
    load.more(60)
    first = wide_site.start(ScriptedGuard(), named(wide_site, "weir-0"))
    wait_until(lambda: first.progress.completed == 60, "the first one to work")
    second = wide_site.start(ScriptedGuard(), named(wide_site, "weir-0"))
    wait_until(lambda: first.failure is not None, "the first one to be fenced")
    load.more(60)
    ledger = load.until_done(wide_site.settings)

    assert isinstance(first.failure, FencedInstanceIdError)
    assert first.stuck_reason() == "the worker failed: FencedInstanceIdError"
    assert second.failure is None
    assert ledger.is_proven, ledger


@pytest.fixture
def two_consumers(wide_site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two replicas of the stream deployment on real Ray Serve, with one setting for both."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    deployment = serve.deployment(
        StreamReplica, name=STREAM, num_replicas=2, graceful_shutdown_timeout_s=5, ray_actor_options={"num_cpus": 0.5}
    )
    with serve_session(2):
        serve.run(deployment.bind(named(wide_site, "weir"), None), name=APP_NAME, route_prefix=None)
        yield


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("two_consumers")
def test_consumers_of_one_application_have_names_of_their_own(wide_site: Site) -> None:
    kafka = wide_site.settings.kafka
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)

    def names() -> set[str]:
        members = admin.describe_groups([kafka.group_id])[kafka.group_id]["members"]
        return {str(member["group_instance_id"]) for member in members}

    try:
        wait_until(lambda: names() == {"weir-0", "weir-1"}, "two members with names of their own")
        assert names() == {"weir-0", "weir-1"}
    finally:
        admin.close()
