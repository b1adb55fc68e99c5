"""Repairs of kafka-python 3.0.12 that every poll and every send goes through; each says what it mends."""

from collections.abc import Callable
from functools import lru_cache
from math import inf
from typing import Any

from kafka import KafkaConsumer
from kafka.future import Future
from kafka.partitioner.default import DefaultPartitioner, murmur2

from workers.kafka.unbounded_waits import PromptConnections, TidyClient, TidyConsumer

_MAX_REMEMBERED_KEY = 64  # bytes, so that the memory of it all is bounded
_hash_of = lru_cache(32_768)(murmur2)


class ForgetfulConnections(PromptConnections):
    """Connections whose waits leave no callbacks behind when they time out.

    kafka-python leaves two callbacks at each time-out: a future that is waited for at each poll and takes long
    collects them by the ten thousand.
    """

    async def wait_for(self, future: Future, timeout_ms: float | None) -> Any:
        """The future's value; KafkaTimeoutError where that does not come in time."""
        waited_for = Future()
        future.chain(waited_for)
        try:
            return await super().wait_for(waited_for, timeout_ms)
        finally:
            _leave(future, lambda callback: getattr(callback, "__self__", None) is waited_for)


class ConsumerClient(TidyClient):
    """A consumer's connections."""

    def __init__(self, **config: Any) -> None:
        super().__init__(ForgetfulConnections, **config)


class MemberConsumer(TidyConsumer):
    """A consumer that stands an outage of any length.

    kafka-python's poll waits no longer than until the next heartbeat, although a thread sends them. While the
    coordinator does not answer, a heartbeat is always due, and a poll of 100 ms spins, which costs a core and 15 MB a
    second.
    """

    def __init__(self, **config: Any) -> None:
        super().__init__(kafka_client=ConsumerClient, **config)
        self._coordinator.time_to_next_poll = lambda: inf


class RememberingPartitioner(DefaultPartitioner):
    """The default partitioner with a memory for hashes: a conversation's key comes again with each message.

    A hash in pure Python costs several times as much as the rest of choosing a partition.
    """

    def partition(self, topic: str, key: Any, serialized_key: bytes | None, *others: Any) -> int:
        """The same choice as the default's, which every Kafka client makes for a key."""
        if serialized_key is None or len(serialized_key) > _MAX_REMEMBERED_KEY:
            choice: int = super().partition(topic, key, serialized_key, *others)
            return choice
        cluster = others[-1]
        known: int = (_hash_of(serialized_key) & 0x7FFFFFFF) % len(cluster.partitions_for_topic(topic))
        return known


def unpark(consumer: KafkaConsumer) -> None:
    """Make the next poll see what was fetched for partitions that were paused and are no longer.

    kafka-python sets such records aside and takes them up again only while its slot for the current batch is None. An
    exhausted batch stays in the slot, and the partition stands still for good.
    """
    fetcher = consumer._fetcher  # noqa: SLF001
    if not fetcher._next_partition_records:  # noqa: SLF001 - false is also one without a record left
        fetcher._next_partition_records = None  # noqa: SLF001


def goes_on_joining(consumer: KafkaConsumer) -> bool:
    """Whether a join that an earlier poll began is under way; the next poll then goes on with it.

    kafka-python forgets a join that it began because a topic changed, if no poll sees its end: the member is then idle
    for good, without heartbeats and without commits.
    """
    coordinator = consumer._coordinator  # noqa: SLF001
    if coordinator._join_task is None:  # noqa: SLF001
        return False
    coordinator.rejoin_needed = True
    return True


def forget_wakes(consumer: KafkaConsumer) -> None:
    """Remove what finished polls have left with fetches that are under way.

    Each waiting poll of kafka-python leaves some 20 kB with each fetch until that is answered.
    """
    for future in tuple(consumer._fetcher._fetch_futures):  # noqa: SLF001
        _leave(future, lambda callback: getattr(callback, "__name__", "") == "_wake")


def _leave(future: Future, is_over: Callable[[Any], bool]) -> None:
    with future._lock:  # noqa: SLF001
        for callbacks in (future._callbacks, future._errbacks):  # noqa: SLF001 - None once it is done
            if callbacks:
                callbacks[:] = [callback for callback in callbacks if not is_over(callback)]
