"""Clients that look at a cluster and topics that they read to a fixed end: bounded in time, for commands.

Never joins a group, never commits, never produces, and never creates a topic by asking for one.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError

from schemas.errors import ModerationError
from schemas.record import SourceRecord
from workers.kafka.connection import connection
from workers.kafka.decoding import read_leniently
from workers.settings.sections import KafkaSettings

CONNECT_S = 10.0
STALL_S = 30.0
POLL_MS = 500
MAX_POLL_RECORDS = 2_000
FETCH_MAX_BYTES = 4 * 2**20  # a command may run beside a worker; more takes memory and is no faster
Advanced = Callable[[int], None]
Isolation = Literal["read_committed", "read_uncommitted"]


class OffsetRange(NamedTuple):
    """Offsets of one partition: from `start` up to, not including, `end`."""

    start: int
    end: int


Spans = Mapping[TopicPartition, OffsetRange]


@contextmanager
def kafka_faults(settings: KafkaSettings) -> Iterator[None]:
    """Turn a client's error into one line of ours.

    Raises:
        ModerationError: names the servers and what they, or the client, said.
    """
    try:
        yield
    except KafkaTimeoutError as error:
        raise ModerationError(
            f"kafka.bootstrap_servers={settings.bootstrap_servers}: no answer in time over"
            f" {settings.security_protocol} ({_first_line(error)}); `weir check` looks closer"
        ) from None
    except KafkaError as error:
        raise ModerationError(f"Kafka at {settings.bootstrap_servers}: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]


def admin(settings: KafkaSettings, connect_s: float = CONNECT_S) -> KafkaAdminClient:
    """An admin client that gives up connecting after `connect_s`."""
    milliseconds = int(connect_s * 1000)
    return KafkaAdminClient(**connection(settings), bootstrap_timeout_ms=milliseconds, request_timeout_ms=milliseconds)


class TopicReader:
    """Reads topics up to the ends that they had when it was asked. Use as a context manager.

    Args:
        settings: where Kafka is.
        group: whose committed offsets `committed` tells.
        isolation: whether `read` gives records of transactions that are open or were aborted.

    Raises:
        KafkaError: from all methods; `kafka_faults` translates it.
    """

    def __init__(
        self, settings: KafkaSettings, group: str | None = None, isolation: Isolation = "read_uncommitted"
    ) -> None:
        self._isolation = isolation
        options: dict[str, Any] = {
            "group_id": group,
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "fetch_max_bytes": min(settings.fetch_max_bytes, FETCH_MAX_BYTES),
            "isolation_level": isolation,
            "allow_auto_create_topics": False,
            "bootstrap_timeout_ms": int(CONNECT_S * 1000),
        }
        self._consumer = KafkaConsumer(**connection(settings), **options)
        read_leniently(self._consumer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._consumer.close(autocommit=False)

    def spans(
        self, topics: Iterable[str], since_ms: int | None = None, until_ms: int | None = None
    ) -> dict[TopicPartition, OffsetRange]:
        """What the topics hold now, or of it what lies between the first records of two times or later.

        Raises:
            ModerationError: a topic does not exist, or may not be seen.
        """
        partitions = [TopicPartition(topic, number) for topic in topics for number in self._partitions(topic)]
        starts = self._consumer.beginning_offsets(partitions)
        ends = self._consumer.end_offsets(partitions)
        if since_ms is not None:
            starts = self._at(since_ms, ends)
        if until_ms is not None:
            ends = self._at(until_ms, ends)
        return {tp: OffsetRange(min(starts[tp], ends[tp]), ends[tp]) for tp in partitions}

    def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Committed offsets of the group, where it has any."""
        stored = {tp: self._consumer.committed(tp) for tp in partitions}
        return {tp: offset for tp, offset in stored.items() if offset is not None}

    def first_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """First offsets still there."""
        return dict(self._consumer.beginning_offsets(list(partitions)))

    def read(
        self, spans: Spans, advanced: Advanced = lambda _count: None, patience_s: float = STALL_S
    ) -> Iterator[SourceRecord]:
        """All records of some spans; those of one partition in offset order.

        Args:
            spans: what to read.
            advanced: called with the number of offsets passed since the last call.
            patience_s: how long the broker may give nothing.

        Raises:
            ModerationError: the broker has given nothing for so long.
        """
        positions = {tp: span.start for tp, span in spans.items() if span.start < span.end}
        self._consumer.assign(list(positions))
        self._consumer.resume(*positions)  # a read before this one has paused those that it finished
        for tp, start in positions.items():
            self._consumer.seek(tp, start)
        patience = time.monotonic() + patience_s
        while positions:
            for tp, records in self._consumer.poll(POLL_MS, max_records=MAX_POLL_RECORDS).items():
                for item in records:
                    if item.offset < spans[tp].end:
                        yield SourceRecord(
                            tp.topic, tp.partition, item.offset, item.timestamp, item.key, item.value,
                            tuple(item.headers),
                        )  # fmt: skip
            # By position and not by record: the last offsets may hold transaction markers, or nothing any more.
            passed = {tp: min(self._consumer.position(tp), spans[tp].end) for tp in positions}
            moved = sum(passed.values()) - sum(positions.values())
            positions = {tp: position for tp, position in passed.items() if position < spans[tp].end}
            self._consumer.pause(*(passed.keys() - positions.keys()))
            if moved > 0:
                advanced(moved)
                patience = time.monotonic() + patience_s
            elif time.monotonic() > patience:
                stuck = ", ".join(f"{tp.topic}-{tp.partition} at {offset}" for tp, offset in positions.items())
                reason = "; a transaction may be open there" if self._isolation == "read_committed" else ""
                raise ModerationError(f"nothing could be read for {patience_s:.0f} s from {stuck}{reason}")

    def _at(self, moment_ms: int, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        found = self._consumer.offsets_for_times(dict.fromkeys(ends, moment_ms))
        return {tp: end if found.get(tp) is None else found[tp].offset for tp, end in ends.items()}

    def _partitions(self, topic: str) -> list[int]:
        partitions = self._consumer.partitions_for_topic(topic)
        if not partitions:
            raise ModerationError(f"topic {topic}: does not exist, or this user may not see it (weir topics plan)")
        return sorted(partitions)


def committed_offsets(settings: KafkaSettings, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """Committed offsets of the settings' group; those that a transaction is about to store are waited for.

    Raises:
        KafkaError: the broker did not say.
    """
    with TopicReader(settings, settings.group_id, "read_committed") as reader:
        return reader.committed(partitions)
