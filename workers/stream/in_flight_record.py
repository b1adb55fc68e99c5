"""One record between delivery and acknowledgement, and the partition it belongs to.

Does not track offsets; `pipelines.offsets` does, over these.
"""

from kafka import TopicPartition

from pipelines.moderation import Admitted, Ruling
from pipelines.offsets import PartitionOffsets
from schemas.record import SourceRecord
from workers.telemetry.log import ids_of
from workers.telemetry.message_trace import MessageTrace


class AssignedPartition:
    """A partition while this member owns it. Once lost or handed over, nothing of it may be published or committed."""

    __slots__ = ("is_lost", "offsets", "topic_partition")

    def __init__(self, topic_partition: TopicPartition) -> None:
        self.topic_partition = topic_partition
        self.offsets: PartitionOffsets[InFlightRecord] = PartitionOffsets()
        self.is_lost = False


class InFlightRecord:
    """A delivered record on its way to an acknowledged outcome."""

    __slots__ = (
        "admitted",
        "is_completed",
        "offset",
        "partition",
        "record",
        "ruling",
        "size_bytes",
        "tokens",
        "trace",
    )

    def __init__(self, partition: AssignedPartition, record: SourceRecord, trace: MessageTrace) -> None:
        self.partition = partition
        self.record = record
        self.offset = record.offset
        self.trace = trace
        self.size_bytes = record.size_bytes
        self.tokens = 0
        self.admitted: Admitted | None = None  # while it is judged
        self.ruling: Ruling | None = None
        self.is_completed = False

    @property
    def log_fields(self) -> dict[str, str]:
        """What a log line about this record says: its place, and its trace where it has one."""
        return {"record_id": self.record.record_id, **ids_of(self.trace.carrier)}

    @property
    def is_decided(self) -> bool:
        """True once its outcome is known."""
        return self.ruling is not None
