"""The shadow lane on real Ray Serve: one that differs is seen, one in trouble counted, and live closes its ledger."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ray import serve

from schemas.shadow import SHADOW_RECORD, ShadowDisagreement, ShadowSummary
from tests.ray_session import serve_session
from tests.workers.serving.shadow_app import application_of
from tests.workers.serving.test_breaker_on_serve import ROOT
from workers.demo.broker import EmbeddedBroker
from workers.kafka.producer import producer
from workers.kafka.reader import TopicReader
from workers.settings.loading import Settings, load_settings

BURST = 400
PATIENCE_S = 90.0
KINDS = ("none", "disagrees", "raises", "hangs", "dies", "does not load")


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    """A broker, and a Ray with Serve whose replicas find the test's classes."""
    with pytest.MonkeyPatch.context() as patch, EmbeddedBroker() as running:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_SERVE_LOG_TO_STDERR", "0")
        patch.setenv("PYTHONPATH", str(ROOT))
        with serve_session(4):
            yield running


class Site:
    """One application of a kind on topics of its own, and what became of what it was sent."""

    def __init__(self, broker: EmbeddedBroker, kind: str) -> None:
        name = kind.replace(" ", "-")
        self.topics = {place: f"{name}.{place}" for place in ("events", "verdicts", "dead_letters", "shadow")}
        for topic in self.topics.values():
            broker.create_topic(topic)
        shadow = {"enabled": True, "share": 1.0, "model": kind, "timeout_s": 1, "summary_interval_s": 0.3}
        self.settings: Settings = load_settings(
            kafka={"bootstrap_servers": broker.bootstrap_servers, "api_version": broker.api_version, "group_id": name},
            topics=self.topics,
            guard={"model": "live", "cpus_per_replica": 0.1},
            serve={"cpus_per_consumer": 0.1},
            delivery={"drain_timeout_s": 2, "commit_interval_s": 0.2},
            shadow={} if kind == "none" else shadow,
        )
        self.name = name
        self.sent = 0
        self._sender = producer(self.settings.kafka)
        serve.run(application_of(self.settings), name=name, route_prefix=None)

    def send(self, count: int) -> None:
        for number in range(self.sent, self.sent + count):
            value = json.dumps({"event_id": f"e{number}", "text": f"words {number}"}).encode()
            self._sender.send(self.topics["events"], value, b"k%d" % (number % 40))
        self.sent += count

    def values(self, place: str) -> list[bytes]:
        with TopicReader(self.settings.kafka) as reader:
            return [record.value or b"" for record in reader.read(reader.ranges([self.topics[place]]))]

    def close_ledger(self) -> float:
        """Send a burst and wait until all that was ever sent has its verdict; returns seconds."""
        started = time.monotonic()
        self.send(BURST)
        until(lambda: len(self.values("verdicts")) >= self.sent, "the ledger to close")
        seconds = time.monotonic() - started
        ids = [json.loads(value)["event_id"] for value in self.values("verdicts")]
        assert sorted(ids) == sorted(f"e{number}" for number in range(self.sent))
        assert self.values("dead_letters") == []
        return seconds

    def shadow(self) -> list[ShadowDisagreement | ShadowSummary]:
        return [SHADOW_RECORD.validate_json(value) for value in self.values("shadow")]

    def summed(self, field: str) -> int:
        return sum(getattr(record, field) for record in self.shadow() if isinstance(record, ShadowSummary))

    def has_candidate(self) -> bool:
        status: Any = serve.status().applications[self.name]
        return bool(status.deployments["ShadowGuard"].replica_states.get("RUNNING", 0))

    def keep_sending_until(self, condition: Callable[[], bool], what: str) -> None:
        def send_and_look() -> bool:
            self.send(5)
            return condition()

        until(send_and_look, what)

    def close(self) -> None:
        self._sender.close()
        serve.delete(self.name)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)


closing_s: dict[str, float] = {}


@pytest.mark.ray
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "kind", [kind if kind == "disagrees" else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def test_p1_live_closes_its_ledger_whatever_the_candidate_does(broker: EmbeddedBroker, kind: str) -> None:
    site = Site(broker, kind)
    try:
        if kind == "disagrees":
            site.keep_sending_until(lambda: site.summed("disagreed") > 0, "a disagreement")
        elif kind != "none":
            site.keep_sending_until(site.has_candidate, "a replica of the candidate")
            before = site.summed("unanswered")
            site.keep_sending_until(lambda: site.summed("unanswered") > before + 30, "records that got no answer")
        closing_s[kind] = site.close_ledger()
        status: Any = serve.status().applications[site.name]
        assert status.deployments["StreamWorker"].status == "HEALTHY"
        assert status.deployments["GuardDeployment"].status == "HEALTHY"
        if kind == "disagrees":
            differing = [record for record in site.shadow() if isinstance(record, ShadowDisagreement)]
            assert {record.live.verdict and record.live.verdict.provenance.model for record in differing} == {"live"}
            assert {record.candidate.verdict and record.candidate.verdict.severity for record in differing} == {
                "Unsafe"
            }
        elif kind != "none":
            assert site.summed("disagreed") == 0
    finally:
        site.close()
    # Not a measurement: it would notice a live path that waits for the candidate.
    assert closing_s[kind] < 3 * closing_s.get("none", 20.0) + 5
