"""A delta worker on a broker, with its topics, as a test sees it."""

import json
from collections.abc import Sequence
from typing import Any

from pipelines.turns.port import TurnJudge
from schemas.record import SourceRecord
from tests.site import OFF, WAIT_S, Broker, Site, wait_until
from workers.deltas.build import delta_worker, settings_of_lane
from workers.kafka.producer import producer
from workers.kafka.reader import TopicReader
from workers.settings.loading import Settings
from workers.stream.worker import StreamWorker
from workers.telemetry.export import Tracing

MESSAGES = [{"role": "user", "content": "where?"}]


def frame(conversation: str, seq: int, delta: str = "", **fields: Any) -> dict[str, Any]:
    """A frame of turn 0, the first one with the turns before it."""
    first = {"messages": MESSAGES} if seq == 0 else {}
    return {"conversation_id": conversation, "turn": 0, "seq": seq, "delta": delta, **first, **fields}


class DeltaSite(Site):
    """Topics of one test, a way to fill them, and workers to empty them."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        for name in (self.settings.topics.deltas, self.settings.topics.stream):
            broker.create_topic(name)

    def settings_with(self, **sections: dict[str, Any]) -> Settings:
        """See `Site`."""
        settings = super().settings_with(**sections)
        names = {"deltas": f"deltas-{self.suffix}", "stream": f"stream-{self.suffix}"}
        return settings.model_copy(update={"topics": settings.topics.model_copy(update=names)})

    def write(self, frames: Sequence[dict[str, Any] | bytes | None], traceparent: bytes | None = None) -> None:
        """Write frames, keyed by conversation; those that are no objects as they are."""
        headers = [] if traceparent is None else [("traceparent", traceparent)]
        sender = producer(self.settings.kafka)
        for each in frames:
            key = each["conversation_id"].encode() if isinstance(each, dict) else b"none"
            value = json.dumps(each).encode() if isinstance(each, dict) else each
            sender.send(self.settings.topics.deltas, value, key, headers)
        sender.flush()
        sender.close()

    def start_deltas(self, judge: TurnJudge, settings: Settings | None = None, tracing: Tracing = OFF) -> StreamWorker:
        """Start one more worker."""
        worker = delta_worker(settings or self.settings, judge, self._loop, tracing)
        self._workers.append(worker)
        worker.start()
        return worker

    def said(self) -> list[dict[str, Any]]:
        """All that was said of turns, partition by partition in offset order."""
        return [json.loads(value) for value in self.said_bytes()]

    def said_bytes(self) -> list[bytes]:
        """The same as bytes."""
        return [record.value or b"" for record in self.said_records()]

    def said_records(self) -> list[SourceRecord]:
        """The same as records."""
        with TopicReader(self.settings.kafka) as reader:
            return list(reader.read(reader.ranges([self.settings.topics.stream])))

    def ends(self) -> dict[str, str]:
        """Why each conversation's turn ended, of those that have."""
        return {said["conversation_id"]: said["end"] for said in self.said() if said["final"]}

    def wait_for_ends(self, count: int) -> None:
        """Wait until that many turns have ended."""
        wait_until(lambda: len(self.ends()) >= count, f"{count} turns to end")

    def delta_offset(self, settings: Settings | None = None) -> int:
        """Committed offsets of the lane's group, over all partitions."""
        kafka = settings_of_lane(settings or self.settings).kafka
        with TopicReader(kafka, kafka.group_id) as reader:
            committed = reader.committed(reader.ranges([self.settings.topics.deltas]))
        return sum(offset for offset in committed.values() if offset is not None)


__all__ = ["MESSAGES", "WAIT_S", "DeltaSite", "frame"]
