"""A stream worker on a broker: librdkafka's mock cluster (the real protocol, without Java), and real Apache Kafka."""

import asyncio
import json
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from pipelines.guard import Guard
from schemas.dead_letter import DeadLetter, read_dead_letter
from schemas.record import SourceRecord
from workers.kafka.producer import producer
from workers.kafka.reader import TopicReader
from workers.settings.loading import Settings, load_settings
from workers.shadow.lane import ShadowLane
from workers.stream.build import shadow_lane, stream_worker
from workers.stream.worker import StreamWorker
from workers.telemetry.export import Tracing

WAIT_S = 30.0
OFF = Tracing(enabled=False, parent_decides=True)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Poll a condition; fails with `what` after a generous time."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {WAIT_S} s for: {what}"
        time.sleep(0.01)


def event(event_id: str, text: str = "hello") -> bytes:
    """Bytes of a chat event."""
    return json.dumps({"event_id": event_id, "text": text}).encode()


@dataclass(frozen=True)
class Broker:
    """Where to connect, and how to create a topic of four partitions."""

    bootstrap_servers: str
    api_version: str | None
    create_topic: Callable[[str], object]


class Site:
    """Topics of one test, a way to fill them, and workers to empty them; `closing` has what ends after these."""

    def __init__(self, broker: Broker) -> None:
        self.suffix = uuid.uuid4().hex[:8]
        self.names = [f"{name}-{self.suffix}" for name in ("events", "verdicts", "dlq", "shadow")]
        for name in self.names:
            broker.create_topic(name)
        self._broker = broker
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.closing = ExitStack()
        self._workers: list[StreamWorker] = []
        self._lanes: list[ShadowLane] = []
        self.settings = self.settings_with()

    def settings_with(self, **sections: dict[str, Any]) -> Settings:
        """Settings of this test; sections as in `weir.yaml`, added to those that every test here needs."""
        kafka: dict[str, Any] = {
            "bootstrap_servers": self._broker.bootstrap_servers,
            "api_version": self._broker.api_version,
            "group_id": f"group-{self.suffix}",
            "heartbeat_interval_ms": 200,
            **sections.pop("kafka", {}),
        }
        if self._broker.api_version is not None:
            # A join that ends between two polls is begun again, and the mock cluster then waits nearly as long.
            kafka.setdefault("session_timeout_ms", 10_000)
        delivery = {
            "commit_interval_s": 0.05,
            "backoff_initial_s": 0.01,
            "backoff_max_s": 0.05,
            "chunk_size": 8,
            **sections.pop("delivery", {}),
        }
        topics = dict(zip(("events", "verdicts", "dead_letters", "shadow"), self.names, strict=True))
        return load_settings(kafka=kafka, delivery=delivery, topics=topics, **sections)

    def produce(
        self, values: list[bytes | None], headers: Callable[[int], list[tuple[str, bytes]]] | None = None
    ) -> None:
        """Write records with the keys k0 to k9 in turn."""
        sender = producer(self.settings.kafka)
        sent = [
            sender.send(self.names[0], value, b"k%d" % (index % 10), headers(index) if headers else [])
            for index, value in enumerate(values)
        ]
        sender.flush()
        for future in sent:
            future.get(WAIT_S)
        sender.close()

    def start(
        self,
        guard: Guard,
        settings: Settings | None = None,
        tracing: Tracing = OFF,
        shadow: ShadowLane | None = None,
    ) -> StreamWorker:
        """Start one more worker."""
        worker = stream_worker(settings or self.settings, guard, self._loop, tracing, shadow)
        self._workers.append(worker)
        worker.start()
        return worker

    def start_shadow(self, settings: Settings, candidate: Guard | None = None) -> ShadowLane:
        """Start the lane that the settings ask for, to be given to a worker."""
        lane = shadow_lane(settings, candidate, self._loop)
        assert lane is not None
        self._lanes.append(lane)
        lane.start()
        return lane

    def records(self, topic: int) -> list[SourceRecord]:
        """All records of a topic: 0 events, 1 verdicts, 2 dead letters, 3 shadow."""
        with TopicReader(self.settings.kafka) as reader:
            return list(reader.read(reader.ranges([self.names[topic]])))

    def verdicts(self) -> list[dict[str, Any]]:
        """All verdicts, partition by partition in offset order."""
        return [json.loads(record.value or b"") for record in self.records(1)]

    def dead_letters(self) -> list[DeadLetter]:
        """All dead letters."""
        return [read_dead_letter(record) for record in self.records(2)]

    def committed(self) -> dict[int, int]:
        """Committed offset of each partition of the event topic."""
        with TopicReader(self.settings.kafka, self.settings.kafka.group_id) as reader:
            return {
                partition.number: offset
                for partition, offset in reader.committed(reader.ranges([self.names[0]])).items()
            }

    def wait_for(self, outcomes: int) -> None:
        """Wait until that many records are completed, by all workers together."""
        wait_until(
            lambda: sum(worker.progress.completed for worker in self._workers) >= outcomes, f"{outcomes} outcomes"
        )

    def close(self) -> None:
        """Stop all workers and lanes."""
        for worker in self._workers:
            worker.stop(10.0)
        for lane in self._lanes:
            lane.stop(10.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S)
        self._loop.close()
        self.closing.close()
