"""Exactly once: outcomes and the offsets that they complete, in one Kafka transaction for each batch.

The group's generation goes along (KIP-447), so the coordinator refuses the offsets of a member that was expelled, and
its outcomes with them. Readers with `isolation.level=read_committed` see each outcome once.
"""

import logging
import threading
from collections.abc import Callable, Sequence

from pipelines.backoff import Backoff
from schemas.errors import ConfigurationError
from schemas.record import Partition
from workers.kafka.errors import CommitFailedError, KafkaError, KafkaTimeoutError
from workers.kafka.producer import TRANSACTION_TIMEOUT_MS, Answer, Producer
from workers.kafka.topic_lives import TopicLives
from workers.settings.sections import TopicSettings
from workers.stream.assignment import InFlightRecord
from workers.stream.publisher import AtLeastOnce, Sent, Settled
from workers.telemetry.log import log_event

log = logging.getLogger(__name__)
FIRST_VERSION = (2, 5)  # of brokers that check the generation
WAIT_MS = 1_000
LONGEST_WAIT_MS = 2 * TRANSACTION_TIMEOUT_MS


class ExactlyOnce(AtLeastOnce):
    """One transaction at a time, on whatever producer is at hand.

    Args:
        new_producer: makes a producer with the worker's transactional id.
        topics: topic names.
        held: called while the broker is what holds a transaction up.
        stopping: set when nothing is to be waited for any more.
        backoff: waits between attempts to learn what became of a transaction.
        member: the consumer's group metadata, now.
        baseline: the text that is stored with offsets, now.
        lives: of the topics.
        stored: committed offsets of some partitions, asked from the broker.
    """

    def __init__(
        self,
        new_producer: Callable[[], Producer],
        topics: TopicSettings,
        held: Callable[[], None],
        stopping: threading.Event,
        *,
        backoff: Backoff,
        member: Callable[[], object],
        baseline: Callable[[], str],
        lives: TopicLives,
        stored: Callable[[Sequence[Partition]], dict[Partition, int]],
    ) -> None:
        super().__init__(new_producer, topics, held, stopping)
        self._backoff = backoff
        self._member = member
        self._baseline = baseline
        self._lives = lives
        self._stored = stored
        self._as_member: object = None

    def settle(self, batch: Sequence[InFlightRecord], sent: Sent) -> Settled:
        """Commit the transaction of a batch: all of it is done then, or nothing."""
        settled = super().settle(batch, sent)
        if len(settled.done) == len(batch):
            return Settled(self._commit(batch), None, None)
        self.close()  # the transaction has to be aborted
        return settled._replace(done=[])

    def _open(self) -> Producer:
        """A producer that is ready; what the one before it left open is aborted, what it began to commit has ended.

        Raises:
            ConfigurationError: the brokers are too old.
            KafkaError: not ready in time.
        """
        producer = self._new_producer()
        try:
            _check_version(producer.broker_version)
            producer.init_transactions()
        except BaseException:
            producer.close_at_once(0)
            raise
        return producer

    def _begin(self, producer: Producer) -> None:
        """Begin a transaction as the member that this is now."""
        self._as_member = self._member()
        producer.begin_transaction()

    def _commit(self, batch: Sequence[InFlightRecord]) -> list[InFlightRecord]:
        """Commit what was sent; returns what is committed: all, or nothing, which the broker knows where we do not."""
        try:
            if self._producer is not None:  # else it was dropped on the way
                self._commit_on(self._producer, batch)
                return list(batch)
        except KafkaError as error:
            log.warning(log_event("transaction_failed", error=type(error).__name__))
        self.close()
        while not self._stopping.is_set():
            try:
                self._producer = self._open()  # ends the old transaction one way or the other
                committed = self._committed(batch)
            except KafkaError as error:
                self.close()
                self._held()
                log.warning(log_event("publish_held", error=type(error).__name__))
                self._stopping.wait(self._backoff.next_wait_s())
            else:
                self._backoff.reset()
                return committed
        return []

    def _commit_on(self, producer: Producer, batch: Sequence[InFlightRecord]) -> None:
        if any(item.partition.is_lost for item in batch):
            raise CommitFailedError("a partition of the transaction was lost")
        # In offset order, so that the last of each partition counts.
        offsets = {item.partition.id: item.offset + 1 for item in batch}
        self._await(producer.send_offsets(offsets, self._baseline(), self._lives, self._as_member))
        self._await(producer.begin_commit())

    def _await(self, answer: Answer) -> None:
        for _ in range(LONGEST_WAIT_MS // WAIT_MS):
            if answer.wait(WAIT_MS):
                return
            self._held()
        raise KafkaTimeoutError("no answer about a transaction that the coordinator has ended by now")

    def _committed(self, batch: Sequence[InFlightRecord]) -> list[InFlightRecord]:
        """Those of a batch that are behind the group's committed offsets.

        A commit whose answer was lost is told from one that failed by its offsets.
        """
        offsets = self._stored(sorted({item.partition.id for item in batch}))
        return [item for item in batch if item.offset < offsets.get(item.partition.id, -1)]


def _check_version(version: tuple[int, ...]) -> None:
    if version < FIRST_VERSION:
        found = ".".join(map(str, version))
        raise ConfigurationError(f"delivery.mode=exactly_once needs brokers of 2.5 or newer, found {found}")
