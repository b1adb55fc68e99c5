"""Polls: what a worker takes in, and what it leaves in the topic for now.

Partitions are paused while a limit is full or the breaker is open. Where a partition goes back, or its topic was
created again, what was in flight of it is forgotten and nothing of it is committed. Does not judge, release or commit.
Runs on the worker's thread.
"""

import logging
from collections.abc import Callable

from pipelines.breaker.breaker import Breaker
from pipelines.in_flight import InFlightLimits
from schemas.errors import UnreadableRecordsError
from schemas.record import SourceRecord
from workers.kafka.consumer import Consumer
from workers.kafka.errors import KafkaError, Meaning, meaning_of
from workers.kafka.topic_lives import TopicLives
from workers.settings.loading import Settings
from workers.stream.assignment import Assignment
from workers.stream.unreadable import UnreadablePartitions
from workers.telemetry.log import log_event

log = logging.getLogger(__name__)
BUSY_POLL_MS = 5
IDLE_POLL_MS = 100
JOIN_POLL_MS = 700  # a join that ends between two polls is begun again (3.0.12): few polls, none ending at Kafka's 3 s


class Intake:
    """Polls of one worker.

    Args:
        settings: all settings.
        consumer: the worker's.
        limits: what is in flight, and how much more may be.
        breaker: while it is open, nothing is taken in.
        assignment: the worker's partitions.
        wait: waits for seconds, or until the worker is to stop.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        settings: Settings,
        consumer: Consumer,
        limits: InFlightLimits,
        breaker: Breaker,
        assignment: Assignment,
        wait: Callable[[float], object],
        clock: Callable[[], float],
    ) -> None:
        self._kafka = settings.kafka
        self._consumer = consumer
        self._limits = limits
        self._breaker = breaker
        self._assignment = assignment
        self._wait = wait
        self._lives = TopicLives(settings.topics.events)
        self._unreadable = UnreadablePartitions(clock)

    def apply_pressure(self) -> None:
        """Pause what is not to be fetched, resume what is."""
        paused, assigned = self._consumer.paused(), self._consumer.assignment()
        is_full = self._limits.is_full or self._breaker.is_open
        wanted = assigned if is_full else self._unreadable.waiting(self._consumer) if self._unreadable.held else set()
        if resumed := paused - wanted:
            self._consumer.resume(resumed)
        self._consumer.pause(wanted - paused)

    def poll(self) -> list[SourceRecord]:
        """The next records of partitions that are not paused.

        Raises:
            KafkaError: no retry can help.
        """
        consumer = self._consumer
        for topic in consumer.recreated(self._lives):
            partitions = [partition for partition in consumer.assignment() if partition.topic == topic]
            self._assignment.begin_anew(partitions)
            consumer.begin_anew(partitions)
        idle_ms = IDLE_POLL_MS if consumer.assignment() else JOIN_POLL_MS
        room = min(self._kafka.max_poll_records, self._limits.room) or 1  # paused when 0: nothing comes
        try:
            polled = consumer.poll(BUSY_POLL_MS if self._limits.records else idle_ms, room)
        except UnreadableRecordsError as error:
            self._unreadable.hold(error)
            return []
        except KafkaError as error:
            if meaning_of(error) is Meaning.FATAL:
                raise
            log.warning(log_event("poll_failed", error=str(error)))
            self._wait(self._kafka.heartbeat_interval_ms / 3000)
            return []
        taken: list[SourceRecord] = []
        for partition, records in polled.items():
            if (back_to := self._assignment.went_back(partition, records[0].offset)) is None:
                taken += records
                continue
            topic, number = partition
            log.warning(log_event("partition_went_back", topic=topic, partition=number, offset=back_to))
            self._assignment.begin_anew([partition])
            consumer.seek(partition, back_to)
        return taken

    def pause_all(self) -> None:
        """Take nothing more in."""
        self._consumer.pause(self._consumer.assignment())

    def stuck_reason(self, timeout_s: float) -> str | None:
        """What could not be read for so long, or None; from any thread."""
        return self._unreadable.stuck_reason(timeout_s)
