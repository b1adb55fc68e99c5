"""What a worker takes in, and what it leaves in the topic for now.

Partitions are paused while a limit is full or the breaker is open. One whose next records cannot be read is held by
itself and tried again, while all others go on. Where a partition goes back, or its topic has begun a new life, what was
in flight of it is forgotten and nothing of it is committed.
Does not judge, release or commit. Runs on the worker's thread.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from pipelines.breaker.breaker import Breaker
from pipelines.in_flight import InFlightLimits
from schemas.errors import UnreadableRecordsError
from schemas.record import SourceRecord
from workers.kafka.consumer import records_of
from workers.kafka.errors import Meaning, meaning_of
from workers.kafka.patches import forget_wakes, goes_on_joining, unpark
from workers.kafka.topic_lives import TopicLives
from workers.settings.loading import Settings
from workers.stream.assignment import Assignment
from workers.telemetry.log import log_event

log = logging.getLogger(__name__)
BUSY_POLL_MS = 5
IDLE_POLL_MS = 100
JOIN_POLL_MS = 700  # a join that ends between two polls is begun again (3.0.12): few polls, none ending at Kafka's 3 s
READ_AGAIN_S = 5.0


class Unreadable(NamedTuple):
    """A partition that is held: it stands at an offset from which on nothing could be read, for the first time then."""

    offset: int
    since: float
    again_at: float
    reason: str


class Intake:
    """Polls of one worker.

    Args:
        settings: all settings.
        limits: what is in flight, and how much more may be.
        breaker: while it is open, nothing is taken in.
        assignment: the worker's partitions.
        wait: waits so many seconds, or until the worker is to stop.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        settings: Settings,
        limits: InFlightLimits,
        breaker: Breaker,
        assignment: Assignment,
        wait: Callable[[float], object],
        clock: Callable[[], float],
    ) -> None:
        self._kafka = settings.kafka
        self._limits = limits
        self._breaker = breaker
        self._assignment = assignment
        self._wait = wait
        self._clock = clock
        self._lives = TopicLives(settings.topics.events)
        self._unreadable: dict[TopicPartition, Unreadable] = {}

    def apply_pressure(self, consumer: KafkaConsumer) -> None:
        """Pause what is not to be fetched, resume what is."""
        paused, assigned = consumer.paused(), consumer.assignment()
        is_full = self._limits.is_full or self._breaker.is_open
        wanted = assigned if is_full else self._held(consumer) if self._unreadable else set()
        if resumed := paused - wanted:
            consumer.resume(*resumed)
        consumer.pause(*(wanted - paused))

    def poll(self, consumer: KafkaConsumer) -> list[SourceRecord]:
        """The next records of partitions that are not paused.

        Raises:
            KafkaError: no retry can help.
        """
        for topic in self._lives.begun(consumer):
            self._begin_anew(consumer, [tp for tp in consumer.assignment() if tp.topic == topic])
        is_joining = goes_on_joining(consumer)
        timeout_ms = BUSY_POLL_MS if self._limits.records and not is_joining else IDLE_POLL_MS
        timeout_ms = timeout_ms if consumer.assignment() or self._limits.records else JOIN_POLL_MS
        room = min(self._kafka.max_poll_records, self._limits.room) or 1  # paused when 0: nothing comes
        unpark(consumer)
        forget_wakes(consumer)
        try:
            polled = consumer.poll(timeout_ms, max_records=room)
        except UnreadableRecordsError as error:
            self._hold(error)
            return []
        except KafkaError as error:
            if meaning_of(error) is Meaning.FATAL:
                raise
            log.warning(log_event("poll_failed", error=str(error)))
            self._wait(self._kafka.heartbeat_interval_ms / 3000)
            return []
        for tp, first in [(tp, records[0].offset) for tp, records in polled.items()]:
            if (back_to := self._assignment.went_back(tp, first)) is not None:
                log.warning(log_event("partition_went_back", topic=tp.topic, partition=tp.partition, offset=back_to))
                del polled[tp]
                self._assignment.begin_anew([tp])
                consumer.seek(tp, back_to)
        return records_of(polled)

    def stuck_reason(self, timeout_s: float) -> str | None:
        """What could not be read for so long, or None; from any thread."""
        for held in list(self._unreadable.values()):
            if self._clock() - held.since > timeout_s:
                return held.reason
        return None

    def _begin_anew(self, consumer: KafkaConsumer, partitions: list[TopicPartition]) -> None:
        """Read partitions from where a group without offsets begins."""
        self._assignment.begin_anew(partitions)
        if partitions:
            is_earliest = self._kafka.auto_offset_reset == "earliest"
            (consumer.seek_to_beginning if is_earliest else consumer.seek_to_end)(*partitions)

    def _hold(self, error: UnreadableRecordsError) -> None:
        tp, now = TopicPartition(error.topic, error.partition), self._clock()
        known = self._unreadable.get(tp)
        since = known.since if known is not None and known.offset == error.offset else now
        self._unreadable[tp] = Unreadable(error.offset, since, now + READ_AGAIN_S, str(error))
        log.error(
            log_event(
                "records_unreadable",
                topic=error.topic,
                partition=error.partition,
                offset=error.offset,
                error=error.fault,
            )
        )

    def _held(self, consumer: KafkaConsumer) -> set[TopicPartition]:
        """Partitions that are not to be tried again yet; forgets those that went on or to another member."""
        for tp, held in list(self._unreadable.items()):
            state = consumer._subscription.assignment.get(tp)  # noqa: SLF001 - `position()` may wait for the coordinator
            if state is None or (state.position is not None and state.position.offset != held.offset):
                del self._unreadable[tp]
        return {tp for tp, held in self._unreadable.items() if self._clock() < held.again_at}
