"""kafka-python clients built from our settings; the one place where the two vocabularies meet.

Does not decide anything: what a setting means is said in `workers.settings.sections`.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from math import inf
from pathlib import Path
from typing import Any
from uuid import uuid4

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import KafkaConnectionError, KafkaError
from kafka.future import Future
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.sasl.oauth import AbstractTokenProvider
from kafka.net.selector import NetworkSelector
from kafka.partitioner.default import DefaultPartitioner, murmur2

from schemas.errors import ConfigurationError
from schemas.record import SourceRecord
from workers.kafka.decoding import read_leniently
from workers.settings.sections import KafkaSettings

# A topic or partition that appears, or may be read at last, after a member has joined is seen no later than this.
METADATA_MAX_AGE_MS = 10_000
BOOTSTRAP_TIMEOUT_MS = 5_000  # a stop waits for it where no broker answers
TRANSACTION_TIMEOUT_MS = 10_000  # what a worker that died left open keeps readers waiting for so long, as Kafka Streams
RECONNECT_S = 0.05
_MAX_REMEMBERED_KEY = 64  # bytes, so that the memory of it all is bounded
_hash_of = lru_cache(32_768)(murmur2)


class TokenFile(AbstractTokenProvider):
    """Bearer token from a file, read anew at each login: whoever owns the file rotates it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def token(self) -> str:
        """The token, without white space around it."""
        return self._path.read_text(encoding="utf-8").strip()


class ForgetfulConnections(KafkaConnectionManager):
    """Connections whose waits leave nothing behind with what they have waited for in vain.

    kafka-python 3.0.12 leaves two callbacks with each: an answer that is long in coming, and asked for with each poll,
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


class ConsumerClient(KafkaNetClient):
    """A consumer's connections."""

    def __init__(self, **config: Any) -> None:
        net = NetworkSelector(**config)
        super().__init__(net, ForgetfulConnections(net, **config))


class GroupConsumer(KafkaConsumer):
    """A consumer that leaves nothing behind when it cannot reach its brokers, and that stands an outage of any length.

    kafka-python 3.0.12 has started a thread by then, which nobody could end. And its poll waits no longer than until
    the next heartbeat, although that thread sends them: while the coordinator does not answer, a heartbeat is always
    due, and a poll of 100 ms turns without a pause, which costs a core and 15 MB a second.
    """

    def __init__(self, **config: Any) -> None:
        try:
            super().__init__(kafka_client=ConsumerClient, **config)
        except KafkaError:
            if (client := getattr(self, "_client", None)) is not None:
                client.close()
            raise
        self._coordinator.time_to_next_poll = lambda: inf
        read_leniently(self)


class ProducerClient(KafkaNetClient):
    """A producer's connections; says that a server cannot be reached, where kafka-python 3.0.12 raises.

    Its sender expects to be told, and looks for another coordinator then. Where it is raised at, it forgets the request
    that it was about to send, and the transaction waits for that for ever.
    """

    def await_ready(self, node_id: int | str, timeout_ms: float = 30_000) -> bool:
        """True once the connection is ready, False where it cannot be had."""
        try:
            return bool(super().await_ready(node_id, timeout_ms))
        except KafkaConnectionError:
            time.sleep(RECONNECT_S)
            return False


class CooperativeAssignor(CooperativeStickyAssignor):
    """Tells the group's leader what this member owns now.

    kafka-python 3.0.12 tells what the member was last given, lost since or not: after an expelled member has come back,
    a partition then has two owners at a time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.consumer: KafkaConsumer | None = None

    def metadata(self, topics: list[str]) -> Any:
        """What this member says of itself when it joins."""
        owned = self.consumer.assignment() if self.consumer is not None else ()
        self.member_assignment = sorted(owned) or None
        return super().metadata(topics)


class RememberingPartitioner(DefaultPartitioner):
    """The default partitioner, which remembers the hashes of keys: a conversation's key comes again with each message.

    A hash in pure Python costs as much as the rest of choosing a partition several times over.
    """

    def partition(
        self,
        topic: str,
        key: Any,
        serialized_key: bytes | None,
        value: Any,
        serialized_value: bytes | None,
        cluster: Any,
    ) -> int:
        """The same choice as the default's, which every Kafka client makes for a key."""
        if serialized_key is None or len(serialized_key) > _MAX_REMEMBERED_KEY:
            choice: int = super().partition(topic, key, serialized_key, value, serialized_value, cluster)
            return choice
        known: int = (_hash_of(serialized_key) & 0x7FFFFFFF) % len(cluster.partitions_for_topic(topic))
        return known


def connection(settings: KafkaSettings) -> dict[str, Any]:
    """Arguments that every client takes: addresses, TLS, SASL."""
    config: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in settings.bootstrap_servers.split(",")],
        "client_id": settings.client_id,
        "security_protocol": settings.security_protocol,
        "ssl_check_hostname": settings.ssl_check_hostname,
    }
    for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
        if (path := getattr(settings, name)) is not None:
            config[name] = str(path)
    if settings.ssl_password is not None:
        config["ssl_password"] = settings.ssl_password.get_secret_value()
    if settings.api_version is not None:
        config["api_version"] = tuple(int(part) for part in settings.api_version.split("."))
    if settings.sasl_mechanism is not None:
        config["sasl_mechanism"] = settings.sasl_mechanism
        if settings.sasl_oauth_token_file is not None:
            config["sasl_oauth_token_provider"] = TokenFile(settings.sasl_oauth_token_file)
        else:
            config["sasl_plain_username"] = settings.sasl_username
            config["sasl_plain_password"] = _password(settings)
    return config


def _password(settings: KafkaSettings) -> str | None:
    if (path := settings.sasl_password_file) is None:
        return settings.sasl_password.get_secret_value() if settings.sasl_password else None
    try:
        return path.read_text(encoding="utf-8").strip("\r\n")
    except OSError as error:
        raise ConfigurationError(f"kafka.sasl_password_file={path}: {error.strerror}") from None


def group_consumer(settings: KafkaSettings) -> KafkaConsumer:
    """A member of the group, not yet subscribed; offsets are committed by us alone."""
    assignor = CooperativeAssignor()
    assignor.consumer = GroupConsumer(
        **connection(settings),
        group_id=settings.group_id,
        group_instance_id=settings.group_instance_id,
        enable_auto_commit=False,
        auto_offset_reset=settings.auto_offset_reset,
        # What an aborted transaction wrote was never said. And offsets that a transaction is about to store are waited
        # for, which exactly once needs when a partition moves.
        isolation_level="read_committed",
        partition_assignment_strategy=[assignor],
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=settings.heartbeat_interval_ms,
        max_poll_interval_ms=settings.max_poll_interval_ms,
        max_poll_records=settings.max_poll_records,
        fetch_max_bytes=settings.fetch_max_bytes,
        allow_auto_create_topics=False,
        bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS,
        metadata_max_age_ms=METADATA_MAX_AGE_MS,
    )
    return assignor.consumer


def unpark(consumer: KafkaConsumer) -> None:
    """Make the next poll see what was fetched for partitions that were paused, and are no longer.

    kafka-python 3.0.12 sets such records aside, and takes them up again only while its slot for the records at hand is
    None. A batch that was given out to its end stays in the slot, and the partition stands still, for good.
    """
    fetcher = consumer._fetcher  # noqa: SLF001
    if not fetcher._next_partition_records:  # noqa: SLF001 - false is also one without a record left
        fetcher._next_partition_records = None  # noqa: SLF001


def goes_on_joining(consumer: KafkaConsumer) -> bool:
    """Whether a join that a former poll has begun is under way, with which the next poll then goes on.

    kafka-python 3.0.12 forgets one that it began because a topic has changed, and that no poll saw the end of: the
    member stands aside for good, without heartbeats and without commits.
    """
    coordinator = consumer._coordinator  # noqa: SLF001
    if coordinator._join_task is None:  # noqa: SLF001
        return False
    coordinator.rejoin_needed = True
    return True


def forget_wakes(consumer: KafkaConsumer) -> None:
    """Take back what polls that are over left with fetches that are under way.

    Each poll of kafka-python 3.0.12 that waits leaves some 20 kB with each of them until its answer comes.
    """
    for future in tuple(consumer._fetcher._fetch_futures):  # noqa: SLF001
        _leave(future, lambda callback: getattr(callback, "__name__", "") == "_wake")


def _leave(future: Future, is_over: Callable[[Any], bool]) -> None:
    with future._lock:  # noqa: SLF001
        for callbacks in (future._callbacks, future._errbacks):  # noqa: SLF001 - None once it is done
            if callbacks:
                callbacks[:] = [callback for callback in callbacks if not is_over(callback)]


def records_of(polled: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> list[SourceRecord]:
    """What a poll returned, as our records."""
    return [
        SourceRecord(topic, partition, item.offset, item.timestamp, item.key, item.value, tuple(item.headers))
        for (topic, partition), items in polled.items()
        for item in items
    ]


def transactional_id(settings: KafkaSettings) -> str:
    """A new one: each worker has its own, and none is handed on, because the group's generation does the fencing."""
    return f"{settings.group_id}-{uuid4().hex}"


def producer(settings: KafkaSettings, transaction_id: str | None = None) -> KafkaProducer:
    """The idempotent producer of outcomes; transactional where it has an id for that."""
    return KafkaProducer(
        **connection(settings),
        transactional_id=transaction_id,
        transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
        acks="all",
        enable_idempotence=True,
        compression_type=None if settings.compression == "none" else settings.compression,
        batch_size=131_072,
        max_block_ms=10_000,
        # The client retries for ever: a retried batch that expires would hang an idempotent producer (3.0.12).
        delivery_timeout_ms=2**31 - 1,
        request_timeout_ms=10_000,
        reconnect_backoff_max_ms=1_000,
        max_request_size=settings.max_request_bytes,
        partitioner=RememberingPartitioner(),
        kafka_client=ProducerClient,
        allow_auto_create_topics=False,
    )
