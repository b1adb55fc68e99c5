"""Produces records exactly as they were, and says of each whether the broker has it.

One batch at a time. Waits for a broker, but not for ever.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from schemas.errors import ModerationError
from schemas.record import Headers
from workers.kafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidRecordError,
    KafkaError,
    KafkaTimeoutError,
    Meaning,
    TopicAuthorizationFailedError,
    UnknownError,
    meaning_of,
)
from workers.kafka.producer import ExactProducer, Future

PATIENCE_S = 60.0
FLUSH_WAIT_S = 1.0


@dataclass(slots=True)
class Outgoing:
    """One record to produce; `partition` None leaves the choice to the key's hash.

    `is_acknowledged` and `refusal`, why the record can never be written there, are filled in by the sender.
    """

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: Headers
    is_acknowledged: bool = False
    refusal: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether it need not be sent any more."""
        return self.is_acknowledged or self.refusal is not None


class RedriveSender:
    """Owner of the producer. Use `close` in the end.

    Args:
        new_producer: makes a producer; called again when one is finished.
        patience_s: without an acknowledgement for so long: give up.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        new_producer: Callable[[], ExactProducer],
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._new_producer = new_producer
        self._patience_s = patience_s
        self._clock = clock
        self._producer: ExactProducer | None = None

    def send(self, records: Sequence[Outgoing]) -> None:
        """Produce records in order and wait; afterwards all are done.

        Raises:
            ModerationError: the cluster refuses, or does not answer. Records that are done by then stay marked so.
        """
        self._attempt(records)
        # An idempotent producer that fails one record fails all that are queued behind it with the same error.
        # Only a record that fails alone is known to be the one.
        for record in records:
            if not record.is_done and (error := self._attempt([record])) is not None:
                raise ModerationError(_described(record.topic, error)) from None

    def close(self) -> None:
        """Close the producer at once: what is not acknowledged must not be delivered later by its own thread."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close_at_once(FLUSH_WAIT_S)

    def _attempt(self, records: Sequence[Outgoing]) -> KafkaError | None:
        """Send records and wait; the first error that is not one record's own."""
        sent: list[tuple[Outgoing, Future]] = []
        try:
            for record in records:
                if not record.is_done and (future := self._send(record)) is not None:
                    sent.append((record, future))
                    if future.failed():
                        break  # refused at once, as for want of a right: what follows must not overtake it
            self._flush([future for _, future in sent])
        finally:
            for record, future in sent:
                record.is_acknowledged = future.succeeded()
        failed = [(record, future.exception) for record, future in sent if future.failed()]
        if not failed:
            return None
        self.close()  # it fails everything from now on
        record, error = failed[0]
        if len(records) == 1 and (refusal := _refusal(error)) is not None:
            record.refusal = refusal
            return None
        return error

    def _send(self, record: Outgoing) -> Future | None:
        if self._producer is None:
            self._producer = self._new_producer()
        try:
            return self._producer.send_exactly(record.topic, record.value, record.key, record.headers, record.partition)
        except ValueError:
            raise ModerationError(f"topic {record.topic}: its partitions have changed meanwhile; run again") from None
        except KafkaError as error:
            if (refusal := _refusal(error)) is None:
                raise
            record.refusal = refusal
            return None

    def _flush(self, futures: Sequence[Future]) -> None:
        deadline = self._clock() + self._patience_s
        waiting = len(futures)
        while self._producer is not None:
            try:
                self._producer.flush(timeout=FLUSH_WAIT_S)
            except KafkaTimeoutError:
                still = sum(not future.is_done for future in futures)
                if still < waiting:
                    waiting, deadline = still, self._clock() + self._patience_s
                if self._clock() >= deadline:
                    raise ModerationError(
                        f"no acknowledgement for {self._patience_s:.0f} s; the broker is down, or too few replicas are"
                        " in sync"
                    ) from None
                continue
            except UnknownError:  # kafka-python 3.0.12 says so of a batch too large for its topic that it has split
                continue
            return


def _refusal(error: BaseException) -> str | None:
    """Why this record can never be written; None where the record is not to blame."""
    if meaning_of(error) is Meaning.TOO_LARGE:
        return "larger than its topic or kafka.max_request_bytes allows"
    if isinstance(error, InvalidRecordError):
        return "refused by the broker: InvalidRecordError"
    return None


def _described(topic: str, error: KafkaError) -> str:
    # A user who may write nowhere gets no producer id, which kafka-python says in words only.
    no_id = ClusterAuthorizationFailedError.__name__ in str(error)
    if no_id or isinstance(error, TopicAuthorizationFailedError):
        return f"topic {topic}: WRITE is not allowed to this user"
    return f"topic {topic}: {str(error).partition(chr(10))[0]}"
