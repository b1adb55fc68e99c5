"""Ways around kafka-python 3.0.12 where it waits without bound or without saying for what, goes on after its end, makes
topics or skips records.

What every poll and every send goes through is in `workers.kafka.patches`.
"""

import time
from collections.abc import Callable, Collection
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.subscription_state import OffsetResetStrategy
from kafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

ENDS_TIMEOUT_MS = 10_000
RECONNECT_S = 0.05
CONNECT = {"socket_connection_setup_timeout_ms": 3_000, "socket_connection_setup_timeout_max_ms": 10_000}
SILENCE_MS = 10_000  # of requests that have no time of their own, as joining a group has
_LATEST = -1  # ListOffsets' word for the log end


class TidySelector(NetworkSelector):
    """A loop at whose end no socket stays open.

    kafka-python leaves open what still had something to write then, and what had not got its connection yet.
    """

    def close(self) -> None:
        """End the loop, its tasks and its sockets."""
        self.stop()
        opened = [key.fileobj for key in (self._selector.get_map() or {}).values()]
        super().close()
        for one in opened:
            one.close()


class PromptConnections(KafkaConnectionManager):
    """Connections that give a server up that is silent, and go on with another one.

    kafka-python lets a first connection take all the time that there is to find the cluster (30 s), although another
    server may answer at once; a later one 10 s, and up to 36 s after failures, also where answers were lost when it
    began and no longer are; and heartbeats and fetches 30 s. None of these can be set on its clients, but for the last
    one, which would then cut off what comes slowly.
    """

    def __init__(self, net: NetworkSelector, **config: Any) -> None:
        super().__init__(net, **(CONNECT | config))

    async def _do_bootstrap(self, deadline: float | None) -> Any:
        """Find the cluster, trying each server for a time of its own."""
        connect: Any = self.get_connection

        def connect_soon(node_id: Any, timeout_ms: float | None = None, **more: Any) -> Any:
            longest = self.socket_connection_setup_timeout_ms(node_id)
            return connect(node_id, longest if timeout_ms is None else min(longest, timeout_ms), **more)

        self.get_connection: Any = connect_soon
        try:
            return await super()._do_bootstrap(deadline)
        finally:
            del self.get_connection

    async def _connect(self, node: Any, conn: Any, **more: Any) -> Any:
        """Open a connection whose requests end by its silence, and not while their answers come, however slowly."""
        silence_s = min(SILENCE_MS, self.config["request_timeout_ms"]) / 1000
        timed_out, before = conn._request_timed_out, 0  # noqa: SLF001

        def request_timed_out(future: Any, *times: float) -> None:
            nonlocal before
            came, before = before, conn.parser._rbuffer.tell() if conn.parser._receiving else 0  # noqa: SLF001
            if before in (0, came) or future.is_done:
                timed_out(future, *times)
            else:
                conn.net.call_at(time.monotonic() + silence_s, lambda: request_timed_out(future, *times))

        conn._timeout_secs, conn._request_timed_out = silence_s, request_timed_out  # noqa: SLF001
        return await super()._connect(node, conn, **more)


class TidyClient(KafkaNetClient):
    """The connections of a client, all of which end with it."""

    def __init__(self, connections: type[PromptConnections] = PromptConnections, **config: Any) -> None:
        net = TidySelector(**config)
        super().__init__(net, connections(net, **config))


class ProducerClient(TidyClient):
    """A producer's connections, which return False for a server that cannot be reached, where kafka-python raises.

    kafka-python's sender expects a return value and then looks for another coordinator. When an error is raised
    instead, it forgets the request that it was about to send, and the transaction waits for that request for ever.
    """

    def await_ready(self, node_id: int | str, timeout_ms: float = 30_000) -> bool:
        """True once the connection is ready, False where it cannot be had."""
        try:
            return bool(super().await_ready(node_id, timeout_ms))
        except KafkaConnectionError:
            time.sleep(RECONNECT_S)
            return False


class NamingProducer(KafkaProducer):
    """A producer that names the topic for which it has waited in vain.

    kafka-python says only that metadata did not come in time, and a verdict may go to several topics.
    """

    def _wait_on_metadata(self, topic: str, max_wait_ms: float) -> Any:
        try:
            return super()._wait_on_metadata(topic, max_wait_ms)
        except KafkaTimeoutError as error:
            error.topic = topic
            raise


class TidyConsumer(KafkaConsumer):
    """A consumer that leaves nothing behind when it cannot reach its brokers.

    kafka-python has started a thread by then, which nobody could end and which would go on connecting and logging.
    """

    def __init__(self, **config: Any) -> None:
        try:
            super().__init__(**{"kafka_client": TidyClient} | config)
        except KafkaError:
            _end_unfinished(self)
            raise
        _create_no_topics(self._cluster)


class TidyAdminClient(KafkaAdminClient):
    """The same of an admin client."""

    def __init__(self, **config: Any) -> None:
        try:
            super().__init__(kafka_client=TidyClient, **config)
        except KafkaError:
            _end_unfinished(self)
            raise


def _end_unfinished(client: KafkaConsumer | KafkaAdminClient) -> None:
    if (connections := getattr(client, "_client", None)) is not None:
        connections.close()


def create_no_topics(producer: KafkaProducer) -> None:
    """Have a producer ask for topics without creating them; to be called before it is asked for any."""
    _create_no_topics(producer._metadata)  # noqa: SLF001


def _create_no_topics(cluster: Any) -> None:
    # `allow_auto_create_topics=False` does not reach what writes the requests.
    cluster.config["allow_auto_create_topics"] = False


def start_at_the_first(consumer: KafkaConsumer, removed: Callable[[TopicPartition, int, int], None]) -> None:
    """Where a position has left the log, have a consumer go on at the first record that there is.

    kafka-python goes where a new group begins, which may be the end, and says nothing.

    Args:
        consumer: not yet subscribed.
        removed: told on kafka-python's thread of the partition, the position, and the first offset there is.
    """
    subscription, fetcher = consumer._subscription, consumer._fetcher  # noqa: SLF001
    request_reset, reset = subscription.request_offset_reset, fetcher._reset_offset_if_needed  # noqa: SLF001
    left: dict[TopicPartition, int] = {}

    def request_first(partition: TopicPartition, strategy: Any = None) -> None:
        position = subscription.assignment[partition].position
        if strategy is None and position is not None:
            left[partition] = position.offset
            strategy = OffsetResetStrategy.EARLIEST
        request_reset(partition, strategy)

    def found(partition: TopicPartition, timestamp: Any, offset: int) -> None:
        reset(partition, timestamp, offset)
        before = left.pop(partition, None)
        if before is not None and before < offset:
            removed(partition, before, offset)

    subscription.request_offset_reset = request_first
    fetcher._reset_offset_if_needed = found  # noqa: SLF001


def close_at_once(producer: KafkaProducer, timeout_s: float) -> None:
    """Close a producer; what it has not delivered is not delivered later, either.

    kafka-python's `close(timeout)` alone leaves its sender's thread delivering.
    """
    producer._sender.force_close()  # noqa: SLF001
    producer.close(timeout=timeout_s)


def send_offsets(producer: KafkaProducer, offsets: dict[Any, Any], member: object) -> Any:
    """Ask that offsets become part of the open transaction; what is returned can be waited for.

    kafka-python's public method waits for ever for a broker.
    """
    return _asked(producer, producer._transaction_manager.send_offsets_to_transaction(offsets, member))  # noqa: SLF001


def begin_commit(producer: KafkaProducer) -> Any:
    """Ask that the open transaction be committed; what is returned can be waited for."""
    return _asked(producer, producer._transaction_manager.begin_commit())  # noqa: SLF001


def _asked(producer: KafkaProducer, result: Any) -> Any:
    producer._sender.wakeup()  # noqa: SLF001 - as its public methods do
    return result


def ask_ends(consumer: KafkaConsumer, partitions: Collection[TopicPartition]) -> Any:
    """Ask for log ends; a future of {partition: something with the `offset`}.

    What `end_offsets` waits for, without waiting: it may be a broker that is down.
    """
    fetcher = consumer._fetcher  # noqa: SLF001
    ask = fetcher._fetch_offsets_by_times_async  # noqa: SLF001
    return fetcher._manager.call_soon(ask, dict.fromkeys(partitions, _LATEST), ENDS_TIMEOUT_MS)  # noqa: SLF001


def position_of(consumer: KafkaConsumer, partition: tuple[str, int]) -> int | None:
    """Offset of the next record to be polled; `position()` may wait for the coordinator."""
    state = consumer._subscription.assignment.get(partition)  # noqa: SLF001
    return None if state is None or state.position is None else int(state.position.offset)


def cluster_of(consumer: KafkaConsumer) -> Any:
    """What is known of topics now; public questions may wait."""
    return consumer._cluster  # noqa: SLF001


def heartbeat_of(consumer: KafkaConsumer) -> Any:
    """When the coordinator was asked and has answered; the same object as long as the consumer lives."""
    return consumer._coordinator.heartbeat  # noqa: SLF001


async def sleep(consumer: KafkaConsumer, seconds: float) -> None:
    """Wait in a listener; it is the only sleep of kafka-python's loop."""
    await consumer._net.sleep(seconds)  # noqa: SLF001
