"""Writes the shadow lane's records with a producer of its own, and counts those that it could not write.

Nothing waits for acknowledgements and nothing is sent again: what fails is gone. Used by the lane's thread.
"""

import logging
import threading
import time
from collections.abc import Callable

from schemas.record import JSON_CONTENT
from schemas.shadow import ShadowDisagreement, ShadowSummary
from workers.kafka.errors import KafkaError, fault_of
from workers.kafka.producer import Producer
from workers.telemetry.log import log_event

log = logging.getLogger(__name__)
RETRY_S = 30.0  # after a failure: each further one might take the client's ten seconds
MOST_UNACKNOWLEDGED = 1_000
CLOSE_S = 1.0


class ShadowPublisher:
    """Owner of the producer.

    Args:
        new_producer: makes a producer; called again after a failure, when `RETRY_S` have passed.
        topic: the shadow topic.
        clock: seconds, monotonic.
    """

    def __init__(
        self, new_producer: Callable[[], Producer], topic: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._new_producer = new_producer
        self._producer: Producer | None = None
        self._topic = topic
        self._clock = clock
        self._not_before = float("-inf")
        self._lock = threading.Lock()  # the producer's thread counts, too
        self._unacknowledged = 0
        self._has_failed = False
        self.unpublished = 0

    def send(self, record: ShadowDisagreement | ShadowSummary) -> bool:
        """Hand one record to the producer; False where it was not taken, which is counted. Never raises."""
        key = record.event_id.encode("utf-8", "surrogatepass") if isinstance(record, ShadowDisagreement) else None
        if self._has_failed:
            self._drop_producer()
        if self._clock() < self._not_before or self._unacknowledged >= MOST_UNACKNOWLEDGED:
            self._count()
            return False
        try:
            if self._producer is None:
                self._producer = self._new_producer()
            future = self._producer.send(self._topic, record.model_dump_json().encode(), key, [JSON_CONTENT])
        except Exception as error:  # noqa: BLE001 - whatever the client raises costs this record, and nothing else
            self._count()
            self._failed(error)
            return False
        with self._lock:
            self._unacknowledged += 1
        future.add_callback(self._acknowledged).add_errback(self._refused)
        return True

    def close(self) -> None:
        """Give what is under way a moment, and end."""
        if self._producer is not None:
            try:
                self._producer.flush(timeout=CLOSE_S)
            except KafkaError as error:
                log.warning(log_event("shadow_not_published", error=type(error).__name__))
            self._drop_producer()

    def _acknowledged(self, _: object) -> None:
        with self._lock:
            self._unacknowledged -= 1

    def _refused(self, error: BaseException) -> None:
        with self._lock:
            self._unacknowledged -= 1
        self._count()
        self._failed(error)

    def _count(self) -> None:
        with self._lock:
            self.unpublished += 1

    def _failed(self, error: BaseException) -> None:
        if not self._has_failed:
            log.warning(log_event("shadow_not_published", **fault_of(error)))
        self._not_before = self._clock() + RETRY_S
        self._has_failed = True  # an idempotent producer that failed one record fails all after it

    def _drop_producer(self) -> None:
        producer, self._producer = self._producer, None
        self._has_failed = False
        if producer is not None:
            producer.close_at_once(CLOSE_S)
