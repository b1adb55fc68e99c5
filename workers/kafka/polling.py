"""What a worker's turn asks of its consumer: polls, pauses and commits, in our own types of partitions and records.

Only the polling thread may use it, except where a method says otherwise. `workers.kafka.consumer` joins and leaves.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from kafka import OffsetAndMetadata, TopicPartition

from pipelines.in_flight import LIMIT
from schemas.record import Partition, SourceRecord
from workers.kafka.patches import forget_wakes, goes_on_joining, unpark
from workers.kafka.topic_lives import TopicLives

JOINING_POLL_MS = 100


class PollingConsumer:
    """A consumer at work; offsets are committed by us alone.

    Raises:
        KafkaError: from all methods that ask the brokers.
    """

    def __init__(self, topics: Sequence[str] = ()) -> None:
        self.lives = TopicLives(topics)
        self._kafka: Any = None
        self._fetcher: Any = None
        self._cluster: Any = None
        self._heartbeat: Any = None
        self._has_new_metadata = True
        self._assigned_at = -float("inf")

    def poll(self, timeout_ms: int, most: int, most_bytes: int = LIMIT.bytes) -> dict[Partition, list[SourceRecord]]:
        """The next records of partitions that are not paused, `most` and `most_bytes` at most, or one.

        Raises:
            UnreadableRecordsError: of one partition; asked for again, it is raised again.
        """
        if goes_on_joining(self._kafka):
            timeout_ms = max(timeout_ms, JOINING_POLL_MS)
        unpark(self._kafka)
        forget_wakes(self._kafka)
        self._fetcher.poll_bytes = most_bytes
        polled = self._kafka.poll(timeout_ms, max_records=most)
        return {
            Partition(topic, number): [
                SourceRecord(topic, number, item.offset, item.timestamp, item.key, item.value, tuple(item.headers))
                for item in items
            ]
            for (topic, number), items in polled.items()
        }

    def assignment(self) -> set[Partition]:
        """Partitions that are owned."""
        return {Partition(*tp) for tp in self._kafka.assignment()}

    def paused(self) -> set[Partition]:
        """Owned partitions that are not fetched."""
        return {Partition(*tp) for tp in self._kafka.paused()}

    def pause(self, partitions: Collection[Partition]) -> None:
        """Fetch nothing of these."""
        self._kafka.pause(*to_kafka(partitions))

    def resume(self, partitions: Collection[Partition]) -> None:
        """Fetch these again."""
        self._kafka.resume(*to_kafka(partitions))

    def recreated(self) -> list[str]:
        """Topics that have begun a new life, as far as it is known now."""
        is_new, self._has_new_metadata = self._has_new_metadata, False
        return self.lives.begun(self._cluster) if is_new else []

    def commit(
        self, offsets: Mapping[Partition, int], text: str, answered: Callable[[BaseException | None], None]
    ) -> None:
        """Have offsets stored, a text beside each; a later poll calls `answered`, with an error where they were not."""

        def answer(_: object, response: object) -> None:
            answered(response if isinstance(response, BaseException) else None)

        self._kafka.commit_async(stored_with(offsets, text, self.lives), callback=answer)

    def is_member(self) -> bool:
        """Whether the coordinator has answered within the session; if not, others may own the partitions by now.

        From any thread.
        """
        if self._heartbeat is None:
            return False
        session_s: float = self._heartbeat.config["session_timeout_ms"] / 1000
        # Not its `session_timeout_expired`: that begins anew when the coordinator is given up for dead.
        answered: float = max(self._heartbeat.last_receive, self._assigned_at)
        return time.monotonic() - answered < session_s


def to_kafka(partitions: Iterable[Partition]) -> list[TopicPartition]:
    """Partitions as kafka-python names them."""
    return [TopicPartition(*tp) for tp in partitions]


def stored_with(offsets: Mapping[Partition, int], text: str, lives: TopicLives) -> dict[Any, Any]:
    """Offsets as kafka-python stores them."""
    marks = lives.marks
    return {TopicPartition(*tp): OffsetAndMetadata(at, marks.get(tp[0], "") + text, -1) for tp, at in offsets.items()}
