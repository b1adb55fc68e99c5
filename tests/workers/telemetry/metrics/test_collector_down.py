"""A collector that stalls or is gone costs a worker its figures only: it works on at its pace, within its memory."""

import time
from collections.abc import Iterator

import pytest

from tests.mock_cluster import MockCluster
from tests.site import Broker, Site, event, wait_until
from tests.workers.telemetry.collector import Collector
from tests.workers.telemetry.measured_member import MeasuredMember

RECORDS = 4_000
WARM_UP = 2
# Memory that 16,000 queued spans may take, and the exporters' buffers. Unbounded, a phase would be many times that.
MOST_GROWTH = 150 * 2**20
SAMPLED = [("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01")]


@pytest.fixture
def site() -> Iterator[Site]:
    with MockCluster() as running:
        made = Site(Broker(running.bootstrap_servers, running.api_version, running.create_topic))
        yield made
        made.close()


class Run:
    """Phases of equal load through one worker."""

    def __init__(self, site: Site, collector: Collector) -> None:
        self.site = site
        settings = site.settings_with(delivery={"chunk_size": 64, "commit_interval_s": 0.5})
        self.member = MeasuredMember(settings, collector.variables)
        self.produced = 0

    def phase(self) -> float:
        """Seconds from the first record produced to the last one completed."""
        started = time.monotonic()
        values = [event(f"e{number}") for number in range(self.produced, self.produced + RECORDS)]
        self.site.produce(values, lambda _: SAMPLED)
        self.produced += RECORDS
        wait_until(lambda: self.member.report().completed == self.produced, f"{self.produced} records")
        return time.monotonic() - started


def test_p9_a_collector_that_stalls_or_is_gone_neither_slows_nor_fills_a_worker(
    site: Site, collector: Collector
) -> None:
    run = Run(site, collector)
    try:
        usual = [run.phase() for _ in range(1 + WARM_UP)][WARM_UP]
        wait_until(lambda: "moderation_records_completed_total" in collector.metrics_text(), "metrics to arrive")
        before = run.member.report().memory

        collector.stall()
        stalled = [run.phase() for _ in range(3)]
        collector.kill()
        gone = [run.phase() for _ in range(3)]
        after = run.member.report()

        assert not after.failed
        assert after.memory - before < MOST_GROWTH
        assert min(stalled) < 2 * usual + 1
        assert min(gone) < 2 * usual + 1

        collector.start()
        completed = f"}} {run.produced}\n"
        wait_until(
            lambda: any(
                line.startswith("moderation_records_completed_total") and f"{line}\n".endswith(completed)
                for line in collector.metrics_text().splitlines()
            ),
            "the figures to be whole again",
        )
        assert run.member.stop()
    finally:
        run.member.kill()


def test_a_worker_stops_in_time_while_its_collector_stalls(site: Site, collector: Collector) -> None:
    run = Run(site, collector)
    try:
        run.phase()
        collector.stall()
        run.phase()
        started = time.monotonic()

        assert run.member.stop()
        assert time.monotonic() - started < 20
    finally:
        collector.resume()
        run.member.kill()
