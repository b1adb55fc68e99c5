"""The group's consumer."""

from collections.abc import Mapping, Sequence

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from schemas.record import SourceRecord
from workers.kafka.connection import connection
from workers.kafka.decoding import read_leniently
from workers.kafka.patches import CooperativeAssignor, MemberConsumer
from workers.settings.sections import KafkaSettings

# A topic or partition that appears, or may be read at last, after a member has joined is seen no later than this.
METADATA_MAX_AGE_MS = 10_000
BOOTSTRAP_TIMEOUT_MS = 5_000  # a stop waits for it where no broker answers


def group_consumer(settings: KafkaSettings) -> KafkaConsumer:
    """A member of the group, not yet subscribed; offsets are committed by us alone."""
    assignor = CooperativeAssignor()
    assignor.consumer = MemberConsumer(
        **connection(settings),
        group_id=settings.group_id,
        group_instance_id=settings.group_instance_id,
        enable_auto_commit=False,
        auto_offset_reset=settings.auto_offset_reset,
        # What an aborted transaction wrote was never said. And offsets that a transaction is about to store are waited
        # for, which exactly once needs when a partition moves.
        isolation_level="read_committed",
        partition_assignment_strategy=[assignor],
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=settings.heartbeat_interval_ms,
        max_poll_interval_ms=settings.max_poll_interval_ms,
        max_poll_records=settings.max_poll_records,
        fetch_max_bytes=settings.fetch_max_bytes,
        allow_auto_create_topics=False,
        bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS,
        metadata_max_age_ms=METADATA_MAX_AGE_MS,
    )
    read_leniently(assignor.consumer)
    return assignor.consumer


def records_of(polled: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> list[SourceRecord]:
    """What a poll returned, as our records."""
    return [
        SourceRecord(topic, partition, item.offset, item.timestamp, item.key, item.value, tuple(item.headers))
        for (topic, partition), items in polled.items()
        for item in items
    ]
