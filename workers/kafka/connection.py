"""How to reach Kafka: our settings as arguments of kafka-python's clients, and its consumer as a member of the group.

Decides nothing: `workers.settings.sections` says what a setting means.
"""

from collections.abc import Callable, Collection, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.net.sasl.oauth import AbstractTokenProvider

from schemas.errors import ConfigurationError
from schemas.record import Partition
from workers.kafka.patches import MemberConsumer
from workers.settings.sections import KafkaSettings

# A topic or partition that appears, or may be read at last, after a member has joined is seen no later than this.
METADATA_MAX_AGE_MS = 10_000
BOOTSTRAP_TIMEOUT_MS = 5_000  # a stop waits for it where no broker answers
RECONNECT_MAX_MS = 1_000  # as Java's clients; kafka-python's own 30 s go on when an outage is over
_PACKAGES = {"AWS_MSK_IAM": "botocore", "GSSAPI": "gssapi"}
CONNECT_S = 10.0  # that commands wait for a first answer


class TokenFile(AbstractTokenProvider):
    """A bearer token from a file, read anew at each login, so that the owner of the file can rotate it."""

    def __init__(self, path: Path, extensions: Mapping[str, str]) -> None:
        self._path = path
        self._extensions = dict(extensions)

    def token(self) -> str:
        """The token, without white space around it."""
        return self._path.read_text(encoding="utf-8").strip()

    def extensions(self) -> dict[str, str]:
        """What goes with the token."""
        return self._extensions


class CooperativeAssignor(CooperativeStickyAssignor):
    """Tells the group's leader what this member owns now.

    kafka-python 3.0.12 tells what the member was last given, even if it has lost that since. After an expelled member
    has come back, a partition would have two owners.
    """

    def __init__(self) -> None:
        super().__init__()
        self.consumer: KafkaConsumer | None = None

    def metadata(self, topics: list[str]) -> Any:
        """What this member says of itself when it joins."""
        owned = self.consumer.assignment() if self.consumer is not None else ()
        self.member_assignment = sorted(owned) or None
        return super().metadata(topics)


class Listener(Protocol):
    """What is told, and awaited, when the group moves partitions. Only kafka-python's own futures can be awaited."""

    async def assigned(self, partitions: Collection[Partition]) -> None:
        """These are owned from now on."""

    async def revoked(self, partitions: Collection[Partition]) -> None:
        """These go to another member once this returns."""

    async def lost(self, partitions: Collection[Partition]) -> None:
        """Another member owns these already."""


class KafkaListener(AsyncConsumerRebalanceListener):
    """What kafka-python calls of a listener; `tell` is told first what has happened."""

    def __init__(self, listener: Listener, tell: Callable[[str], None]) -> None:
        self._listener = listener
        self._tell = tell

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Tell of partitions that are owned from now on."""
        self._tell("assigned")
        await self._listener.assigned([Partition(*tp) for tp in assigned])

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Tell of partitions that go to another member."""
        self._tell("revoked")
        await self._listener.revoked([Partition(*tp) for tp in revoked])

    async def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        """Tell of partitions that another member owns already."""
        self._tell("lost")
        await self._listener.lost([Partition(*tp) for tp in lost])


def connection(settings: KafkaSettings) -> dict[str, Any]:
    """Arguments that every client takes: addresses, TLS, SASL."""
    config: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in settings.bootstrap_servers.split(",")],
        "client_id": settings.client_id,
        "security_protocol": settings.security_protocol,
        "ssl_check_hostname": settings.ssl_check_hostname,
        "reconnect_backoff_max_ms": RECONNECT_MAX_MS,
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
        config |= _login(settings)
    return config


def _login(settings: KafkaSettings) -> dict[str, Any]:
    """What a mechanism needs. Raises ConfigurationError where its package is not installed."""
    mechanism = settings.sasl_mechanism
    if (package := _PACKAGES.get(mechanism or "")) is not None:
        if find_spec(package) is None:
            raise ConfigurationError(f"kafka.sasl_mechanism={mechanism} needs the package {package}")
        if mechanism == "AWS_MSK_IAM":  # its credentials and region are found as AWS' own tools find them
            return {}
        return {
            "sasl_kerberos_service_name": settings.sasl_kerberos_service_name,
            "sasl_kerberos_domain_name": settings.sasl_kerberos_domain_name,
        }
    if settings.sasl_oauth_token_file is not None:
        return {"sasl_oauth_token_provider": TokenFile(settings.sasl_oauth_token_file, settings.sasl_oauth_extensions)}
    return {"sasl_plain_username": settings.sasl_username, "sasl_plain_password": _password(settings)}


def _password(settings: KafkaSettings) -> str:
    if (path := settings.sasl_password_file) is None:
        if settings.sasl_password is None:  # on another machine of a cluster
            raise ConfigurationError("kafka.sasl_password is not in the environment of this process")
        return settings.sasl_password.get_secret_value()
    try:
        return path.read_text(encoding="utf-8").strip("\r\n")
    except OSError as error:  # without the path: it may be the password itself
        raise ConfigurationError(f"kafka.sasl_password_file cannot be read: {error.strerror}") from None


def group_consumer(settings: KafkaSettings) -> KafkaConsumer:
    """kafka-python's own consumer, repaired and as a member of the group; not yet subscribed."""
    assignor = CooperativeAssignor()
    assignor.consumer = MemberConsumer(
        **connection(settings),
        group_id=settings.group_id,
        group_instance_id=settings.group_instance_id,
        client_rack=settings.client_rack or "",
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
