"""Workers that stop and are replaced, one after another, while records go on arriving: nothing is published twice."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from kafka import KafkaAdminClient, KafkaConsumer

from tests.guards.scripted_guard import ScriptedGuard
from tests.integration.members import QUICK, Load, take_a_moment
from tests.site import Site, wait_until
from workers.kafka.connection import group_consumer
from workers.settings.loading import Settings
from workers.stream.worker import StreamWorker

WORKERS = 4
# Longer than a restart takes, so that a static member is back in time.
AWAY_MS = 10_000


@contextmanager
def under_load(load: Load) -> Iterator[None]:
    """Records go on arriving for as long as the block runs."""
    is_over = threading.Event()

    def feed() -> None:
        while not is_over.wait(0.05):
            load.more(10)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def settings_of(site: Site, number: int, mode: str, *, is_static: bool) -> Settings:
    """Settings of one of the workers."""
    name = f"weir-{number}" if is_static else None
    kafka = {**QUICK, "session_timeout_ms": AWAY_MS, "group_instance_id": name}
    return site.settings_with(kafka=kafka, delivery={"mode": mode, "chunk_size": 4})


@pytest.mark.timeout(180)
@pytest.mark.parametrize("mode", ["at_least_once", "exactly_once"])
@pytest.mark.parametrize("is_static", [False, True], ids=["dynamic", "static"])
def test_a_rolling_restart_of_four_workers_under_load_publishes_nothing_twice(
    wide_site: Site, caplog: pytest.LogCaptureFixture, mode: str, is_static: bool
) -> None:
    caplog.set_level("INFO")
    load = Load(wide_site)
    load.more(60)

    def start(number: int) -> StreamWorker:
        settings = settings_of(wide_site, number, mode, is_static=is_static)
        return wide_site.start(ScriptedGuard(script=take_a_moment), settings)

    workers = [start(number) for number in range(WORKERS)]

    def wait_for_work(*those: StreamWorker) -> None:
        before = [worker.progress.completed for worker in those]
        wait_until(
            lambda: all(w.progress.completed > done for w, done in zip(those, before, strict=True)), "all to have work"
        )

    with under_load(load):
        wait_for_work(*workers)
        caplog.clear()
        for number in range(WORKERS):
            assert workers[number].stop(20.0)
            workers[number] = start(number)
            wait_for_work(*workers)
    ledger = load.until_done(wide_site.settings)

    assert ledger.is_proven, ledger
    assert (ledger.duplicates, ledger.verdicts) == (0, load.produced)
    assert [worker.failure for worker in workers] == [None] * WORKERS
    if is_static:
        assert "partitions_lost" not in caplog.text
        assert caplog.text.count("partitions_assigned") == WORKERS, "only those that came back were given partitions"


def ask_in(member: KafkaConsumer, settings: Settings) -> None:
    """Subscribe as a worker does; the member joins when it polls."""
    member.subscribe(list(settings.topics.events))
    member.partitions_for_topic(settings.topics.events[0])  # a leader without metadata assigns nothing


@pytest.fixture
def idler(wide_site: Site) -> Iterator[KafkaConsumer]:
    """A member that heartbeats and polls only when it is told to: until then the whole group waits for it to join."""
    settings = wide_site.settings_with(kafka=QUICK)
    member = group_consumer(settings.kafka)
    ask_in(member, settings)
    yield member
    member.close()


def test_a_worker_that_stops_while_the_group_rebalances_commits_what_it_has_published(
    wide_site: Site, idler: KafkaConsumer
) -> None:
    settings = wide_site.settings_with(kafka=QUICK, delivery={"commit_interval_s": 600})
    load = Load(wide_site)
    load.more(60)
    worker = wide_site.start(ScriptedGuard(), settings)
    wait_until(lambda: worker.progress.completed == load.produced, "the first records")
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap_servers)
    third = group_consumer(settings.kafka)

    def state() -> str:
        return str(admin.describe_groups([settings.kafka.group_id])[settings.kafka.group_id]["group_state"])

    try:
        wait_until(lambda: bool(idler.poll(50) or idler.assignment()), "the other member to own something")
        idler.pause(*idler.assignment())
        # Both may have to join once more; nothing comes of what is paused.
        wait_until(lambda: not idler.poll(20) and state() == "Stable", "the group to be stable")
        load.more(60)
        done = worker.progress.completed
        wait_until(lambda: worker.progress.completed > done, "the worker to publish what is not committed")
        # A third member asks to be let in: all have to join again, and the other member does not, until it polls.
        ask_in(third, settings)
        wait_until(lambda: not third.poll(100) and state() == "PreparingRebalance", "a rebalance")
        coordinator = worker._consumer._kafka._coordinator  # noqa: SLF001 - nobody else can tell
        wait_until(coordinator.rebalance_in_progress, "the worker to join again")
        assert sum(wide_site.committed().values()) < len(wide_site.verdicts())
        worker.request_stop()
        patience = time.monotonic() + 1
        wait_until(lambda: worker.stop(0) or time.monotonic() > patience, "the worker to wait for the other one")
        wait_until(lambda: not idler.poll(20) and worker.stop(0), "the worker to stop")
    finally:
        third.close()
        admin.close()

    assert worker.failure is None
    assert sum(wide_site.committed().values()) == len(wide_site.verdicts())
