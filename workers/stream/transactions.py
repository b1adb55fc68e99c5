"""Exactly once: outcomes and the offsets that they complete, in one Kafka transaction for each batch.

The group's generation goes along (KIP-447), so the coordinator refuses the offsets of a member that was expelled, and
its outcomes with them. Readers with `isolation.level=read_committed` see each outcome once.
Does not send outcomes; the publisher does.
"""

from collections.abc import Callable, Sequence
from typing import Any

from kafka import KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.errors import CommitFailedError, KafkaTimeoutError

from schemas.errors import ConfigurationError
from workers.kafka.producer import TRANSACTION_TIMEOUT_MS
from workers.stream.in_flight_record import InFlightRecord

FIRST_VERSION = (2, 5)  # of brokers that check the generation
WAIT_MS = 1_000
LONGEST_WAIT_MS = 2 * TRANSACTION_TIMEOUT_MS
Member = Callable[[], object]


class Transactions:
    """One transaction at a time, on whatever producer is at hand.

    Args:
        new_producer: makes a producer with the worker's transactional id.
        member: the consumer's group metadata, now.
        note: the text that is stored with offsets, now.
        stored: committed offsets of some partitions, asked from the broker.
        held: called while the broker is what holds a transaction up.
    """

    def __init__(
        self,
        new_producer: Callable[[], KafkaProducer],
        member: Member,
        note: Callable[[], str],
        stored: Callable[[Sequence[TopicPartition]], dict[TopicPartition, int]],
        held: Callable[[], None],
    ) -> None:
        self._new_producer = new_producer
        self._member = member
        self._note = note
        self._stored = stored
        self._held = held
        self._as_member: object = None

    def new_producer(self) -> KafkaProducer:
        """A producer that is ready; what the one before it left open is aborted, what it began to commit has ended.

        Raises:
            ConfigurationError: the brokers are too old.
            KafkaError: not ready in time.
        """
        producer = self._new_producer()
        try:
            _check_version(producer.config["api_version"])
            producer.init_transactions()
        except BaseException:
            producer.close_at_once(0)
            raise
        return producer

    def begin(self, producer: KafkaProducer) -> None:
        """Begin a transaction as the member that this is now."""
        self._as_member = self._member()
        producer.begin_transaction()

    def commit(self, producer: KafkaProducer, batch: Sequence[InFlightRecord]) -> None:
        """Commit what was sent since `begin`, and the offsets behind the batch.

        Raises:
            KafkaError: nothing of it was committed, or it is not known: `committed` tells.
        """
        if any(item.partition.is_lost for item in batch):
            raise CommitFailedError("a partition of the transaction was lost")
        # In offset order, so that the last of each partition counts.
        note = self._note()
        offsets = {item.partition.topic_partition: OffsetAndMetadata(item.offset + 1, note, -1) for item in batch}
        manager = producer._transaction_manager  # noqa: SLF001 - the public methods wait for ever for a broker
        self._await(producer, manager.send_offsets_to_transaction(offsets, self._as_member))
        self._await(producer, manager.begin_commit())

    def _await(self, producer: KafkaProducer, result: Any) -> None:
        producer._sender.wakeup()  # noqa: SLF001 - as its public methods do
        for _ in range(LONGEST_WAIT_MS // WAIT_MS):
            if result.wait(WAIT_MS):
                return
            self._held()
        raise KafkaTimeoutError("no answer about a transaction that the coordinator has ended by now")

    def committed(self, batch: Sequence[InFlightRecord]) -> list[InFlightRecord]:
        """Those of a batch that are behind the group's committed offsets, to be asked with a new producer at hand.

        A commit whose answer was lost is told from one that failed by its offsets.

        Raises:
            KafkaError: the broker did not say.
        """
        offsets = self._stored(sorted({item.partition.topic_partition for item in batch}))
        return [item for item in batch if item.offset < offsets.get(item.partition.topic_partition, -1)]


def _check_version(version: tuple[int, ...]) -> None:
    if version < FIRST_VERSION:
        found = ".".join(map(str, version))
        raise ConfigurationError(f"delivery.mode=exactly_once needs brokers of 2.5 or newer, found {found}")
