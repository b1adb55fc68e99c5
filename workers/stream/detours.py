"""What a poll may meet beside records: faults, a topic that was created again, a partition that delivers again."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from pipelines.breaker.breaker import Breaker
from pipelines.in_flight import InFlightLimits
from schemas.errors import UnreadableRecordsError
from schemas.record import Partition, SourceRecord
from workers.kafka.consumer import Consumer
from workers.kafka.errors import KafkaError, Meaning, meaning_of
from workers.stream.assignment import AssignedPartition, Assignment
from workers.stream.unreadable import UnreadablePartitions
from workers.telemetry.log import log_event

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Detours:
    """Those of one worker.

    Args:
        fault_wait_s: after a poll that the brokers did not answer.
        wait: waits for seconds, or until the worker is to stop.
    """

    consumer: Consumer
    assignment: Assignment
    unreadable: UnreadablePartitions
    fault_wait_s: float
    wait: Callable[[float], object]
    _begun: dict[Partition, AssignedPartition] = field(default_factory=dict, init=False)

    def begin_anew(self, topic: str) -> None:
        """Forget what is in flight of a topic that was created again, and read it from where a new group begins."""
        partitions = [partition for partition in self.consumer.assignment() if partition.topic == topic]
        self.assignment.begin_anew(partitions)
        self.consumer.begin_anew(partitions)

    def begins_in_another_life(self, partition: Partition, offset: int) -> bool:
        """Whether the first records of a partition are where a former life of its topic was committed.

        It is polled from where a new group begins then. Where nobody says what is stored, it is polled again.
        """
        owned = self.assignment.get(partition)
        if owned is None or self._begun.get(partition) is owned:
            return False
        try:
            is_another = self.consumer.is_of_another_life(partition)
        except KafkaError as error:
            self.consumer.seek(partition, offset)
            self.failed(error)
            return True
        self._begun[partition] = owned
        if is_another:
            topic, number = partition
            log.warning(log_event("offset_of_a_former_life", topic=topic, partition=number, offset=offset))
            self.consumer.begin_anew([partition])
        return is_another

    def go_back(self, partition: Partition, offset: int) -> None:
        """Read a partition again from all that is unfinished."""
        topic, number = partition
        log.warning(log_event("partition_went_back", topic=topic, partition=number, offset=offset))
        self.assignment.begin_anew([partition])
        self.consumer.seek(partition, offset)

    def passed_over(self, breaker: Breaker, limits: InFlightLimits) -> list[SourceRecord]:
        """Records in place of those that are given up, unless nothing is to be taken in now."""
        if breaker.is_open or self.assignment.is_full:
            return []
        return self.unreadable.given_up(self.consumer, limits.room)

    def failed(self, error: KafkaError | UnreadableRecordsError) -> None:
        """Hold what cannot be read; wait a little where the brokers are at fault.

        Raises:
            KafkaError: no retry can help.
        """
        if isinstance(error, UnreadableRecordsError):
            self.unreadable.hold(error)
            return
        if meaning_of(error) is Meaning.FATAL:
            raise error
        log.warning(log_event("poll_failed", error=str(error)))
        self.wait(self.fault_wait_s)
