"""One member of a consumer group: how it joins, what it is told when partitions move, and what else may be asked of it.

`workers.kafka.polling` has what each turn asks. kafka-python awaits the listener on its I/O thread while the polling
thread sits inside `poll` or `close`.
"""

import logging
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from schemas.record import Partition
from workers.kafka.connection import KafkaListener, Listener, group_consumer
from workers.kafka.decoding import read_leniently
from workers.kafka.polling import PollingConsumer, stored_with, to_kafka
from workers.kafka.topic_lives import unmarked
from workers.kafka.unbounded_waits import ask_ends, cluster_of, heartbeat_of, position_of, sleep, start_at_the_first
from workers.settings.sections import KafkaSettings
from workers.telemetry.log import log_event

log = logging.getLogger(__name__)


class Consumer(PollingConsumer):
    """A member of the group.

    Args:
        settings: where Kafka is, the group, sizes and times.
        most_value_bytes: of a record; a longer value is cut while it is read.
        topics: whose lives it follows.

    Attributes:
        rebalances: changes of the assignment by what happened: assigned, revoked, lost.
        removed: records that had left the log before they were polled.

    Raises:
        KafkaError: from all methods that ask the brokers.
    """

    def __init__(self, settings: KafkaSettings, most_value_bytes: int = 2**20, topics: Sequence[str] = ()) -> None:
        super().__init__(topics)
        self._most_value_bytes = most_value_bytes
        self._settings = settings
        self.rebalances: Counter[str] = Counter()
        self.removed = 0

    def connect(self) -> None:
        """Connect to the brokers; nothing else works before."""
        self._kafka = group_consumer(self._settings)
        self._fetcher = read_leniently(self._kafka, self._most_value_bytes)
        start_at_the_first(self._kafka, self._see_removed)
        self._cluster = cluster_of(self._kafka)
        self._cluster.add_listener(self._see_metadata)
        self._heartbeat = heartbeat_of(self._kafka)

    def subscribe(self, topics: Sequence[str], listener: Listener) -> None:
        """Ask for a share of the topics' partitions; the group is joined by `poll`."""
        # Each time anew, because it also stops asking for all topics of the cluster, which a failure below leaves on.
        self._kafka.subscribe(list(topics), listener=KafkaListener(listener, self._tell))
        for topic in topics:
            self._kafka.partitions_for_topic(topic)  # a leader without metadata assigns nothing

    def position(self, partition: Partition) -> int | None:
        """Offset of the next record to be polled; None where it is not known, without asking for it."""
        return position_of(self._kafka, partition)

    def seek(self, partition: Partition, offset: int) -> None:
        """Poll a partition from an offset on."""
        self._kafka.seek(*to_kafka([partition]), offset)

    def begin_anew(self, partitions: Collection[Partition]) -> None:
        """Poll partitions from where a group without offsets begins."""
        is_earliest = self._settings.auto_offset_reset == "earliest"
        (self._kafka.seek_to_beginning if is_earliest else self._kafka.seek_to_end)(*to_kafka(partitions))

    async def commit_and_wait(self, offsets: Mapping[Partition, int], text: str) -> None:
        """Have offsets stored, for a listener: returns when they are."""
        await self._kafka.commit_async(stored_with(offsets, text, self.lives))

    async def sleep(self, seconds: float) -> None:
        """Wait, in a listener."""
        await sleep(self._kafka, seconds)

    def committed_texts(self, partitions: Collection[Partition]) -> list[str]:
        """What is stored beside the group's offsets of some partitions."""
        stored = [self._kafka.committed(tp, metadata=True) for tp in to_kafka(partitions)]
        return [unmarked(offset.metadata) for offset in stored if offset is not None]

    def is_of_another_life(self, partition: Partition) -> bool:
        """Whether the group's offset of a partition was stored in another life of its topic."""
        stored = self._kafka.committed(*to_kafka([partition]), metadata=True)
        return stored is not None and self.lives.is_of_another(partition.topic, stored.metadata)

    def ask_ends(self, partitions: Collection[Partition]) -> Any:
        """Ask for log ends; a future of {partition: something with the `offset`}."""
        return ask_ends(self._kafka, to_kafka(partitions))

    def partition_count(self) -> int | None:
        """Partitions of all topics that are subscribed to; None where a topic's are not known now."""
        numbers = [self._cluster.partitions_for_topic(topic) for topic in self._kafka.subscription() or ()]
        return sum(map(len, numbers)) if all(numbers) else None

    def metadata(self) -> object:
        """The group metadata that a transaction needs; from any thread."""
        return self._kafka.group_metadata()

    def close(self) -> None:
        """Leave the group; partitions are revoked first."""
        self._kafka.close()

    # -- from kafka-python's thread ----------------------------------------------------------------------------------

    def _see_metadata(self, _: object) -> None:
        self._has_new_metadata = True

    def _tell(self, what: str) -> None:
        self.rebalances[what] += 1
        if what == "assigned":
            self._assigned_at = time.monotonic()

    def _see_removed(self, partition: tuple[str, int], before: int, first: int) -> None:
        count = first - before
        self.removed += count
        place = {"topic": partition[0], "partition": partition[1]}
        log.error(log_event("records_removed_unjudged", **place, offset=before, first=first, count=count))
