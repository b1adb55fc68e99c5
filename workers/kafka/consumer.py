"""One member of a consumer group, in our own types of partitions and records, with kafka-python inside.

Only the polling thread may use it, except where a method says otherwise. kafka-python awaits the listener on its I/O
thread while the polling thread sits inside `poll` or `close`.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from kafka import OffsetAndMetadata, TopicPartition
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener

from schemas.record import Partition, SourceRecord
from workers.kafka.connection import group_consumer
from workers.kafka.patches import forget_wakes, goes_on_joining, unpark
from workers.kafka.topic_lives import TopicLives
from workers.settings.sections import KafkaSettings

JOINING_POLL_MS = 100
ENDS_TIMEOUT_MS = 10_000
_LATEST = -1  # ListOffsets' word for the log end


class Listener(Protocol):
    """What is told, and awaited, when the group moves partitions. Only kafka-python's own futures can be awaited."""

    async def assigned(self, partitions: Collection[Partition]) -> None:
        """These are owned from now on."""

    async def revoked(self, partitions: Collection[Partition]) -> None:
        """These go to another member once this returns."""

    async def lost(self, partitions: Collection[Partition]) -> None:
        """Another member owns these already."""


class Consumer:
    """A member of the group; offsets are committed by us alone.

    Args:
        settings: where Kafka is, the group, sizes and times.

    Attributes:
        rebalances: changes of the assignment by what happened: assigned, revoked, lost.

    Raises:
        KafkaError: from all methods that ask the brokers.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._kafka: Any = None
        self._has_new_metadata = True
        self._assigned_at = -float("inf")
        self.rebalances: Counter[str] = Counter()

    def connect(self) -> None:
        """Connect to the brokers; nothing else works before."""
        self._kafka = group_consumer(self._settings)
        self._kafka._cluster.add_listener(self._see_metadata)  # noqa: SLF001

    def subscribe(self, topics: Sequence[str], listener: Listener) -> None:
        """Ask for a share of the topics' partitions; the group is joined by `poll`."""
        # Each time anew, because it also stops asking for all topics of the cluster, which a failure below leaves on.
        self._kafka.subscribe(list(topics), listener=_KafkaListener(listener, self._tell))
        for topic in topics:
            self._kafka.partitions_for_topic(topic)  # a leader without metadata assigns nothing

    def poll(self, timeout_ms: int, most: int) -> dict[Partition, list[SourceRecord]]:
        """The next records of partitions that are not paused, `most` at most.

        Raises:
            UnreadableRecordsError: of one partition; asked for again, it is raised again.
        """
        if goes_on_joining(self._kafka):
            timeout_ms = max(timeout_ms, JOINING_POLL_MS)
        unpark(self._kafka)
        forget_wakes(self._kafka)
        polled = self._kafka.poll(timeout_ms, max_records=most)
        return {
            Partition(topic, number): [
                SourceRecord(topic, number, item.offset, item.timestamp, item.key, item.value, tuple(item.headers))
                for item in items
            ]
            for (topic, number), items in polled.items()
        }

    def assignment(self) -> set[Partition]:
        """Partitions that are owned."""
        return {Partition(*tp) for tp in self._kafka.assignment()}

    def paused(self) -> set[Partition]:
        """Owned partitions that are not fetched."""
        return {Partition(*tp) for tp in self._kafka.paused()}

    def pause(self, partitions: Collection[Partition]) -> None:
        """Fetch nothing of these."""
        self._kafka.pause(*[TopicPartition(*tp) for tp in partitions])

    def resume(self, partitions: Collection[Partition]) -> None:
        """Fetch these again."""
        self._kafka.resume(*[TopicPartition(*tp) for tp in partitions])

    def position(self, partition: Partition) -> int | None:
        """Offset of the next record to be polled; None where it is not known, without asking for it."""
        state = self._kafka._subscription.assignment.get(partition)  # noqa: SLF001 - `position()` may wait for the coordinator
        return None if state is None or state.position is None else int(state.position.offset)

    def seek(self, partition: Partition, offset: int) -> None:
        """Poll a partition from an offset on."""
        self._kafka.seek(TopicPartition(*partition), offset)

    def begin_anew(self, partitions: Collection[Partition]) -> None:
        """Poll partitions from where a group without offsets begins."""
        is_earliest = self._settings.auto_offset_reset == "earliest"
        (self._kafka.seek_to_beginning if is_earliest else self._kafka.seek_to_end)(
            *[TopicPartition(*tp) for tp in partitions]
        )

    def commit(
        self, offsets: Mapping[Partition, int], text: str, answered: Callable[[BaseException | None], None]
    ) -> None:
        """Have offsets stored, a text beside each; a later poll calls `answered`, with an error where they were not."""

        def answer(_: object, response: object) -> None:
            answered(response if isinstance(response, BaseException) else None)

        self._kafka.commit_async(stored_with(offsets, text), callback=answer)

    async def commit_and_wait(self, offsets: Mapping[Partition, int], text: str) -> None:
        """The same, for a listener: returns when they are stored."""
        await self._kafka.commit_async(stored_with(offsets, text))

    async def sleep(self, seconds: float) -> None:
        """Wait, in a listener."""
        await self._kafka._net.sleep(seconds)  # noqa: SLF001 - the only sleep of kafka-python's loop

    def committed_texts(self, partitions: Collection[Partition]) -> list[str]:
        """What is stored beside the group's offsets of some partitions."""
        stored = [self._kafka.committed(TopicPartition(*tp), metadata=True) for tp in partitions]
        return [offset.metadata for offset in stored if offset is not None]

    def ask_ends(self, partitions: Collection[Partition]) -> Any:
        """Ask for log ends; a future of {partition: something with the `offset`}.

        What `end_offsets` waits for, without waiting: it may be a broker that is down.
        """
        fetcher = self._kafka._fetcher  # noqa: SLF001
        ask = fetcher._fetch_offsets_by_times_async  # noqa: SLF001
        wanted = {TopicPartition(*tp): _LATEST for tp in partitions}
        return fetcher._manager.call_soon(ask, wanted, ENDS_TIMEOUT_MS)  # noqa: SLF001

    def partition_count(self) -> int | None:
        """Partitions of all topics that are subscribed to; None where a topic's are not known now."""
        numbers = [self._kafka._cluster.partitions_for_topic(topic) for topic in self._kafka.subscription() or ()]  # noqa: SLF001
        return sum(map(len, numbers)) if all(numbers) else None

    def recreated(self, lives: TopicLives) -> list[str]:
        """Topics that have begun a new life, as far as it is known now."""
        if not self._has_new_metadata:
            return []
        self._has_new_metadata = False
        return lives.begun(self._kafka._cluster)  # noqa: SLF001 - public questions may wait

    def close(self) -> None:
        """Leave the group; partitions are revoked first."""
        self._kafka.close()

    # -- from any thread ---------------------------------------------------------------------------------------------

    def metadata(self) -> object:
        """The group metadata that a transaction needs."""
        return self._kafka.group_metadata()

    def is_member(self) -> bool:
        """Whether the coordinator has answered within the session; if not, others may own the partitions by now."""
        if self._kafka is None:
            return False
        heartbeat = self._kafka._coordinator.heartbeat  # noqa: SLF001
        session_s: float = heartbeat.config["session_timeout_ms"] / 1000
        # Not its `session_timeout_expired`: that begins anew when the coordinator is given up for dead.
        answered: float = max(heartbeat.last_receive, self._assigned_at)
        return time.monotonic() - answered < session_s

    # -- from kafka-python's thread ----------------------------------------------------------------------------------

    def _see_metadata(self, _: object) -> None:
        self._has_new_metadata = True

    def _tell(self, what: str) -> None:
        self.rebalances[what] += 1
        if what == "assigned":
            self._assigned_at = time.monotonic()


class _KafkaListener(AsyncConsumerRebalanceListener):
    """What kafka-python calls."""

    def __init__(self, listener: Listener, tell: Callable[[str], None]) -> None:
        self._listener = listener
        self._tell = tell

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._tell("assigned")
        await self._listener.assigned([Partition(*tp) for tp in assigned])

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        self._tell("revoked")
        await self._listener.revoked([Partition(*tp) for tp in revoked])

    async def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        self._tell("lost")
        await self._listener.lost([Partition(*tp) for tp in lost])


def stored_with(offsets: Mapping[Partition, int], text: str) -> dict[TopicPartition, OffsetAndMetadata]:
    """Offsets as kafka-python stores them."""
    return {TopicPartition(*tp): OffsetAndMetadata(offset, text, -1) for tp, offset in offsets.items()}
