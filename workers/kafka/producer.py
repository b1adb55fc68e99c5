"""The idempotent producer of outcomes, transactional where it has an id for that."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol
from uuid import uuid4

from kafka import KafkaProducer
from kafka.future import Future as Future
from kafka.partitioner.default import DefaultPartitioner, murmur2

from schemas.record import Partition
from workers.kafka.connection import connection
from workers.kafka.consumer import stored_with
from workers.kafka.patches import NULL, Headers, Nulls, ProducerClient, begin_commit, close_at_once, send_offsets
from workers.settings.sections import KafkaSettings

TRANSACTION_TIMEOUT_MS = 10_000  # what a worker that died left open keeps readers waiting for so long, as Kafka Streams
CLOSE_S = 1.0
_MAX_REMEMBERED_KEY = 64  # bytes, so that the memory of it all is bounded
_hash_of = lru_cache(32_768)(murmur2)


class RememberingPartitioner(DefaultPartitioner):
    """The default partitioner, which remembers the hashes of keys: a conversation's key comes again with each message.

    A hash in pure Python costs as much as the rest of choosing a partition several times over.
    """

    def partition(
        self,
        topic: str,
        key: Any,
        serialized_key: bytes | None,
        value: Any,
        serialized_value: bytes | None,
        cluster: Any,
    ) -> int:
        """The same choice as the default's, which every Kafka client makes for a key."""
        if serialized_key is None or len(serialized_key) > _MAX_REMEMBERED_KEY:
            choice: int = super().partition(topic, key, serialized_key, value, serialized_value, cluster)
            return choice
        known: int = (_hash_of(serialized_key) & 0x7FFFFFFF) % len(cluster.partitions_for_topic(topic))
        return known


class Answer(Protocol):
    """What comes of a request about a transaction."""

    def wait(self, timeout_ms: int) -> bool:
        """Wait for it, so long at most; False where it has not come. Raises the KafkaError that was answered."""


class Producer(KafkaProducer):
    """Sends records to the leaders of their partitions; acknowledged are those that all replicas in sync have.

    Args:
        settings: where Kafka is, sizes, compression.
        transaction_id: makes it transactional.
        more: kafka-python's own options, over ours.

    Raises:
        KafkaError: from all methods.
    """

    def __init__(self, settings: KafkaSettings, transaction_id: str | None = None, **more: Any) -> None:
        options = {
            "transactional_id": transaction_id,
            "transaction_timeout_ms": TRANSACTION_TIMEOUT_MS,
            "acks": "all",
            "enable_idempotence": True,
            "compression_type": None if settings.compression == "none" else settings.compression,
            "batch_size": 131_072,
            "max_block_ms": 10_000,
            # The client retries for ever: a retried batch that expires would hang an idempotent producer (3.0.12).
            "delivery_timeout_ms": 2**31 - 1,
            "request_timeout_ms": 10_000,
            "reconnect_backoff_max_ms": 1_000,
            "max_request_size": settings.max_request_bytes,
            "partitioner": RememberingPartitioner(),
            "kafka_client": ProducerClient,
            "allow_auto_create_topics": False,
        }
        super().__init__(**connection(settings), **(options | more))

    @property
    def broker_version(self) -> tuple[int, ...]:
        """Of the protocol that the brokers speak."""
        version: tuple[int, ...] = self.config["api_version"]
        return version

    def send_offsets(self, offsets: Mapping[Partition, int], text: str, member: object) -> Answer:
        """Make offsets part of the open transaction, a text beside each.

        Args:
            offsets: next offset to read of each partition.
            text: stored beside each.
            member: the consumer's group metadata, by which the coordinator knows one that was expelled.
        """
        answer: Answer = send_offsets(self, stored_with(offsets, text), member)
        return answer

    def begin_commit(self) -> Answer:
        """Have the open transaction committed."""
        answer: Answer = begin_commit(self)
        return answer

    def close_at_once(self, timeout_s: float = CLOSE_S) -> None:
        """Close; what is not delivered by now must not be delivered later by the client's own thread."""
        close_at_once(self, timeout_s)


class ExactProducer(Producer):
    """A producer that also writes what kafka-python refuses: null header values, and records without key and value."""

    def __init__(self, settings: KafkaSettings) -> None:
        super().__init__(settings, value_serializer=Nulls())

    def send_exactly(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
        partition: int | None,
    ) -> Future:
        """Send a record as it is."""
        marked = [(name, NULL if content is None else content) for name, content in headers]
        has_nulls = any(content is None for _, content in headers)
        marked = Headers(marked) if has_nulls else marked
        return self.send(topic, NULL if value is None else value, key, marked, partition)


def producer(settings: KafkaSettings, transaction_id: str | None = None) -> Producer:
    """A producer of outcomes."""
    return Producer(settings, transaction_id)


def plain_producer(settings: KafkaSettings) -> KafkaProducer:
    """The same with kafka-python's own partitioner, as any loop around that library has it; for benchmarks."""
    return Producer(settings, partitioner=DefaultPartitioner())


def transactional_id(settings: KafkaSettings) -> str:
    """A new one: each worker has its own, and none is handed on, because the group's generation does the fencing."""
    return f"{settings.group_id}-{uuid4().hex}"
