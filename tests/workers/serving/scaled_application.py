"""The whole application on a local Ray with autoscaling on, a load to turn up and down, and what happened."""

import json
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import pytest
from kafka import KafkaProducer
from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.schema import ApplicationStatus

from tests.ray_session import serve_session
from workers.guard.names import APP_NAME, GUARD, STREAM
from workers.kafka.producer import producer
from workers.kafka.reader import TopicReader
from workers.serving.serve_config import serve_config
from workers.settings.loading import Settings
from workers.tools.verify.ledger import Ledger
from workers.tools.verify.verify import verify

ROOT = Path(__file__).parents[3]
SAMPLE_S = 0.1
Condition = Callable[["Sample"], bool]


class Sample(NamedTuple):
    """Replicas at a time, those that are starting included, and of them those that run."""

    at: float
    guards: int
    guards_running: int
    consumers: int


class Load:
    """Writes chat events at a rate that can be changed."""

    def __init__(self, settings: Settings) -> None:
        self.rate = 0.0
        self.sent = 0
        self._topic = settings.topics.events[0]
        self._sender: KafkaProducer = producer(settings.kafka)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        due = 0.0
        while not self._stopping.wait(0.05):
            due += self.rate * 0.05
            self.burst(int(due))
            due -= int(due)

    def burst(self, count: int) -> None:
        """So many events at once."""
        for _ in range(count):
            self.sent += 1
            value = json.dumps({"event_id": f"e{self.sent}", "text": f"words {self.sent}"}).encode()
            self._sender.send(self._topic, value, b"k%d" % (self.sent % 40))

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._sender.close()


class ScaledApplication:
    """Deploys as `serve deploy` does. Use as a context manager.

    Args:
        settings: autoscaling is on in them.
        monkeypatch: sets the environment that replicas start in.
    """

    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = settings
        self.samples: list[Sample] = []
        self._stopping = threading.Event()
        monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        monkeypatch.setenv("RAY_SERVE_LOG_TO_STDERR", "0")
        monkeypatch.setenv("PYTHONPATH", str(ROOT))  # replicas import the test's classes

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(serve_session(16))
            self.deploy(self.settings)
            self.wait_running()
            self._session = stack.pop_all()
        self.load = Load(self.settings)
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.load.close()
        self._stopping.set()
        self._watcher.join()
        self._session.close()

    def deploy(self, settings: Settings) -> None:
        """Deploy, or change what is deployed, with an engine that takes ten milliseconds for a message."""
        config = serve_config(settings)
        config.applications[0].import_path = "tests.workers.serving.paced_app:build_app"
        _get_global_client().deploy_apps(config)

    def wait_running(self) -> None:
        deadline = time.monotonic() + 150
        while (seen := serve.status().applications.get(APP_NAME)) is None or seen.status != ApplicationStatus.RUNNING:
            assert seen is None or seen.status != ApplicationStatus.DEPLOY_FAILED, seen
            assert time.monotonic() < deadline, seen
            time.sleep(SAMPLE_S)

    def finished(self) -> int:
        """Outcomes that were written; the mock cluster does not keep them all."""
        topics = self.settings.topics
        with TopicReader(self.settings.kafka) as reader:
            return sum(offsets.end for offsets in reader.ranges([topics.verdicts, topics.dead_letters]).values())

    def verdicts(self) -> list[dict[str, Any]]:
        """All verdicts, partition by partition in offset order."""
        with TopicReader(self.settings.kafka) as reader:
            ranges = reader.ranges([self.settings.topics.verdicts])
            return [json.loads(record.value or b"") for record in reader.read(ranges)]

    def until_judged_by(self, revision: str, timeout_s: float = 120) -> None:
        """Wait for a verdict of a model revision."""
        deadline = time.monotonic() + timeout_s
        while revision not in {verdict["provenance"]["revision"] for verdict in self.verdicts()}:
            assert time.monotonic() < deadline, f"no verdict by {revision}: {self.changes()}"
            time.sleep(1)

    def until_drained(self, timeout_s: float = 120) -> None:
        """Wait until no more is unfinished than replicas have in their hands."""
        deadline = time.monotonic() + timeout_s
        while (left := self.load.sent - self.finished()) > self.load.rate:
            assert time.monotonic() < deadline, f"{left} unfinished: {self.changes()}"
            time.sleep(1)

    def until_closed(self, timeout_s: float = 120) -> Ledger:
        """Wait until all that was sent has its outcome, on real Kafka; copies do not count for what is missing."""
        deadline = time.monotonic() + timeout_s
        while not (ledger := verify(self.settings)).is_proven or ledger.inputs < self.load.sent:
            assert time.monotonic() < deadline, f"{self.load.sent} sent, {ledger}: {self.changes()}"
            time.sleep(1)
        return ledger

    def until(self, condition: Condition, what: str, timeout_s: float) -> float:
        """Wait for a sample that satisfies a condition; returns the seconds that it took."""
        begun, looked = time.monotonic(), len(self.samples)
        while True:
            for sample in self.samples[looked:]:
                looked += 1
                if condition(sample):
                    return sample.at - begun
            assert time.monotonic() - begun < timeout_s, f"waited {timeout_s} s for {what}: {self.changes()}"
            time.sleep(SAMPLE_S / 2)

    def changes(self) -> list[tuple[float, int, int, int]]:
        """The samples that differ from the ones before, with seconds since the first."""
        kept: list[Sample] = []
        for sample in self.samples:
            if not kept or kept[-1][1:] != sample[1:]:
                kept.append(sample)
        return [(round(sample.at - self.samples[0].at, 1), *sample[1:]) for sample in kept]

    def _watch(self) -> None:
        while not self._stopping.wait(SAMPLE_S):
            deployments = serve.status().applications[APP_NAME].deployments
            if not {GUARD, STREAM} <= deployments.keys():
                continue  # it is being changed
            guards = {str(state): count for state, count in deployments[GUARD].replica_states.items()}
            ordered = {name: guards.get(name, 0) for name in ("STARTING", "RUNNING", "UPDATING")}
            consumers = {str(state): count for state, count in deployments[STREAM].replica_states.items()}
            self.samples.append(
                Sample(
                    time.monotonic(),
                    sum(ordered.values()),
                    ordered["RUNNING"],
                    consumers.get("STARTING", 0) + consumers.get("RUNNING", 0),
                )
            )
