"""The idempotent producer of outcomes; transactional if it is given an id for that."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from uuid import uuid4

from kafka import KafkaProducer
from kafka.errors import MessageSizeTooLargeError
from kafka.future import Future as Future
from kafka.partitioner.default import DefaultPartitioner
from kafka.serializer import Serializer

from schemas.cut_value import CutValue
from schemas.record import Partition
from workers.kafka.connection import connection
from workers.kafka.patches import RememberingPartitioner
from workers.kafka.polling import stored_with
from workers.kafka.topic_lives import TopicLives
from workers.kafka.unbounded_waits import (
    NamingProducer,
    ProducerClient,
    begin_commit,
    close_at_once,
    create_no_topics,
    send_offsets,
)
from workers.settings.sections import KafkaSettings

TRANSACTION_TIMEOUT_MS = 10_000  # what a worker that died left open keeps readers waiting for so long, as Kafka Streams
CLOSE_S = 1.0
_NULL = bytes(bytearray(b"null"))  # known by its identity, so that no content can be taken for it


class Answer(Protocol):
    """The answer to a request about a transaction, to be waited for."""

    def wait(self, timeout_ms: int) -> bool:
        """Wait for it for a bounded time; False if it has not come. Raises the KafkaError that was answered."""


class Producer(NamingProducer):
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
            "max_request_size": settings.max_request_bytes,
            "partitioner": RememberingPartitioner(),
            "kafka_client": ProducerClient,
            "allow_auto_create_topics": False,
        }
        super().__init__(**connection(settings), **(options | more))
        create_no_topics(self)

    @property
    def broker_version(self) -> tuple[int, ...]:
        """Of the protocol that the brokers speak."""
        version: tuple[int, ...] = self.config["api_version"]
        return version

    def send_offsets(self, offsets: Mapping[Partition, int], text: str, lives: TopicLives, member: object) -> Answer:
        """Make offsets part of the open transaction, a text beside each.

        Args:
            offsets: next offset to read of each partition.
            text: stored beside each.
            lives: of their topics.
            member: the consumer's group metadata, by which the coordinator knows one that was expelled.
        """
        answer: Answer = send_offsets(self, stored_with(offsets, text, lives), member)
        return answer

    def begin_commit(self) -> Answer:
        """Have the open transaction committed."""
        answer: Answer = begin_commit(self)
        return answer

    def close_at_once(self, timeout_s: float = CLOSE_S) -> None:
        """Close; what is not delivered by now must not be delivered later by the client's own thread."""
        close_at_once(self, timeout_s)


class _Headers(list[tuple[str, bytes]]):
    """Headers of which kafka-python does not count the bytes: it adds up lengths where there are any, nulls as well."""

    def __bool__(self) -> bool:
        return False


class _Nulls(Serializer):
    """Turns each mark into a null, after the client has checked the record and before it is encoded.

    kafka-python refuses null header values, and records with neither key nor value, although Kafka has both.
    """

    def serialize(self, _topic: str, headers: list[tuple[str, Any]], value: bytes) -> bytes | None:
        """The value to send; nulls among the headers take their places."""
        for index, (name, content) in enumerate(headers):
            if content is _NULL:
                headers[index] = (name, None)
        return None if value is _NULL else value


class ExactProducer(Producer):
    """A producer that also writes what kafka-python refuses: null header values, and records without key and value."""

    def __init__(self, settings: KafkaSettings) -> None:
        super().__init__(settings, value_serializer=_Nulls())

    def send_exactly(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
        partition: int | None,
    ) -> Future:
        """Send a record as it is.

        Raises:
            MessageSizeTooLargeError: it was too large to be held when it was read.
        """
        if isinstance(value, CutValue):
            raise MessageSizeTooLargeError(value.detail)
        marked = [(name, _NULL if content is None else content) for name, content in headers]
        has_nulls = any(content is None for _, content in headers)
        marked = _Headers(marked) if has_nulls else marked
        return self.send(topic, _NULL if value is None else value, key, marked, partition)


def producer(settings: KafkaSettings, transaction_id: str | None = None) -> Producer:
    """A producer of outcomes."""
    return Producer(settings, transaction_id)


def plain_producer(settings: KafkaSettings) -> KafkaProducer:
    """The same with kafka-python's own partitioner, as in any plain loop around that library; for benchmarks."""
    return Producer(settings, partitioner=DefaultPartitioner())


def transactional_id(settings: KafkaSettings) -> str:
    """A new one: each worker has its own, and none is handed on, because the group's generation does the fencing."""
    return f"{settings.group_id}-{uuid4().hex}"
