"""What Kafka's servers say of a group and its topics, past all proxies; and changing it, as an operator does.

Topics are read with librdkafka, which is not the client under test. Its admin client would be too, but it aborts the
process where a server dies at the wrong moment (2.16). Judges nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from confluent_kafka import Consumer, Message
from confluent_kafka import TopicPartition as Place
from kafka import KafkaAdminClient, OffsetAndMetadata, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec
from kafka.errors import KafkaError

from schemas.record import SourceRecord

ANSWER_S = 30.0
READ_S = 60.0
T = TypeVar("T")


class GroupView:
    """The group and topics of one scenario.

    Args:
        bootstrap: servers, past all proxies.
        group: consumer group.
        topic: its input topic.
    """

    def __init__(self, bootstrap: str, group: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._group = group
        self._topic = topic
        self._clients = threading.local()

    # -- looking ---------------------------------------------------------------------------------------------------

    def members(self) -> tuple[str, dict[int, str]]:
        """State of the group, and the client id that owns each partition."""
        told = self._ask(lambda admin: admin.describe_groups([self._group]))[self._group]
        owners = {
            partition: member["client_id"]
            for member in told["members"]
            for topic in (member["member_assignment"] or {"assigned_partitions": ()})["assigned_partitions"]
            for partition in topic["partitions"]
            if topic["topic"] == self._topic
        }
        return told["group_state"], owners

    def committed(self) -> dict[int, int]:
        """Committed offset of each partition that has one."""
        told = self._ask(lambda admin: admin.list_group_offsets(self._group))[self._group]
        return {tp.partition: stored.offset for tp, stored in told.items() if stored.offset >= 0}

    def ends(self) -> dict[int, int]:
        """Offset behind the last record of each partition of the input topic."""
        return {partition: high for partition, (_, high) in self._bounds(self._topic).items()}

    def partitions(self, topic: str) -> list[int]:
        """Partitions of a topic."""
        (told,) = self._ask(lambda admin: admin.describe_topics([topic]))
        return sorted(partition["partition_index"] for partition in told["partitions"])

    def read(self, topic: str, *, committed: bool = False) -> Iterator[SourceRecord]:
        """All that is in a topic now, partition by partition in offset order.

        Without `committed`, also what aborted transactions wrote; with it, transactions that are open are waited for.
        """
        settings = {
            "bootstrap.servers": self._bootstrap,
            "group.id": "chaos-reader",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "isolation.level": "read_committed" if committed else "read_uncommitted",
            "log_level": 0,
        }
        bounds = self._bounds(topic)
        consumer = Consumer(settings)
        try:
            for number, (low, high) in sorted(bounds.items()):
                if low < high:
                    consumer.assign([Place(topic, number, low)])
                    yield from self._read_partition(consumer, high)
        finally:
            consumer.close()

    def _bounds(self, topic: str) -> dict[int, tuple[int, int]]:
        """First offset of each partition, and the one behind the last."""
        places = [TopicPartition(topic, number) for number in self.partitions(topic)]
        low = self._ask(lambda admin: admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.EARLIEST)))
        high = self._ask(lambda admin: admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.LATEST)))
        return {tp.partition: (low[tp].offset, high[tp].offset) for tp in places}

    def _read_partition(self, consumer: Consumer, high: int) -> Iterator[SourceRecord]:
        while True:
            message = consumer.poll(READ_S)
            assert message is not None, f"nothing to read for {READ_S:.0f} s"
            is_end = message.error() is not None and message.error().name() == "_PARTITION_EOF"
            assert is_end or message.error() is None, message.error()
            # A new leader may not know yet how far all replicas have got.
            if message.offset() >= high:
                return
            if not is_end:
                yield _source_record(message)

    # -- changing --------------------------------------------------------------------------------------------------

    def create(self, topic: str, partitions: int, replicas: int, config: Mapping[str, str]) -> None:
        """Create a topic."""
        made = {"num_partitions": partitions, "replication_factor": replicas, "configs": dict(config)}
        self._ask(lambda admin: admin.create_topics({topic: made}, wait_for_metadata=True))

    def delete(self, *topics: str) -> None:
        """Delete topics, those that are there."""
        self._ask(lambda admin: admin.delete_topics(list(topics), raise_errors=False))

    def grow(self, topic: str, partitions: int) -> None:
        """Give a topic more partitions."""
        self._ask(lambda admin: admin.create_partitions({topic: partitions}))

    def configure(self, topic: str, **config: str) -> None:
        """Set settings of a topic, underscores for dots."""
        values = {name.replace("_", "."): value for name, value in config.items()}
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs=values)
        self._ask(lambda admin: admin.alter_configs([resource]))

    def commit(self, offsets: Mapping[int, int], metadata: str = "") -> None:
        """Set committed offsets of a group without members."""
        asked = {
            TopicPartition(self._topic, number): OffsetAndMetadata(offset, metadata, -1)
            for number, offset in offsets.items()
        }
        told = self._ask(lambda admin: admin.alter_group_offsets(self._group, asked))
        assert {error.errno for error in told.values()} == {0}, told

    def delete_group(self) -> None:
        """Forget a group without members, its committed offsets included."""
        told = self._ask(lambda admin: admin.delete_groups([self._group]))
        assert told == {self._group: "OK"}, told

    def delete_records(self, before: Mapping[int, int]) -> None:
        """Remove the records of each partition that are before an offset, as retention does."""
        asked = {TopicPartition(self._topic, number): offset for number, offset in before.items()}
        self._ask(lambda admin: admin.delete_records(asked))

    def _ask(self, question: Callable[[KafkaAdminClient], T]) -> T:
        """Ask until there is an answer: a server may be what is broken at the moment."""
        deadline = time.monotonic() + ANSWER_S
        while True:
            try:
                if not hasattr(self._clients, "admin"):
                    self._clients.admin = KafkaAdminClient(
                        bootstrap_servers=self._bootstrap.split(","),
                        request_timeout_ms=5_000,
                        reconnect_backoff_max_ms=500,
                        metadata_max_age_ms=2_000,
                    )
                return question(self._clients.admin)
            except KafkaError:
                self.close()  # it would go on asking a coordinator that has died (kafka-python 3.0.12)
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def close(self) -> None:
        """Close the client of the thread that calls; each has one of its own."""
        if (admin := self._clients.__dict__.pop("admin", None)) is not None:
            admin.close()


def _source_record(message: Message) -> SourceRecord:
    return SourceRecord(
        message.topic(), message.partition(), message.offset(), message.timestamp()[1], message.key(),
        message.value(), tuple(message.headers() or ()),
    )  # fmt: skip
