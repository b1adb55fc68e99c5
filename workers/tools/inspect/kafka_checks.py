"""The checks of `weir check` that ask Kafka: reach, session, topics, rights and sizes.

Only looks: what a user may do is asked of the broker, never tried.
"""

import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from schemas.errors import ModerationError
from workers.kafka.admin import Admin, TopicState
from workers.kafka.connection import connection
from workers.kafka.errors import (
    CoordinatorNotAvailableError,
    KafkaTimeoutError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailedError,
    TransactionalIdNotFoundError,
    UnknownTopicOrPartitionError,
)
from workers.kafka.producer import transactional_id
from workers.kafka.topics import HEADER_BYTES, Role, topic_roles
from workers.settings.loading import Settings
from workers.settings.stream_guard import delta_group
from workers.tools.inspect.check import CheckResult, check
from workers.tools.inspect.retention_check import configs_of, retention, topic_creation

RIGHTS: Mapping[Role, tuple[str, ...]] = {
    "events": ("DESCRIBE", "READ"),
    "verdicts": ("DESCRIBE", "WRITE"),
    "dead letters": ("DESCRIBE", "WRITE"),
    "routed verdicts": ("DESCRIBE", "WRITE"),
    "shadow": ("DESCRIBE", "WRITE"),
    "deltas": ("DESCRIBE", "READ"),
    "turn verdicts": ("DESCRIBE", "WRITE"),
}
_UNSEEN = (UnknownTopicOrPartitionError.__name__, TopicAuthorizationFailedError.__name__)
_MARGIN_S = 1.0
_COORDINATOR_TRIES = 20
_COORDINATOR_WAIT_S = 0.2


def kafka_checks(settings: Settings, timeout_s: float) -> Iterator[CheckResult]:
    """Run the checks one after another; those that need what another one found to be missing are skipped."""
    if not settings.inputs:
        for name in ("broker", "session", "topics", "rights"):
            yield CheckResult(name, "skip", "no topic is read")
        return
    broker = check("broker", lambda: _reach(settings, timeout_s - _MARGIN_S), timeout_s)
    yield broker
    clients: list[Admin] = []
    session = CheckResult("session", "skip", "no broker to have one with")
    if broker.status == "ok":
        session = check("session", lambda: _session(settings, timeout_s - _MARGIN_S, clients), timeout_s)
    yield session
    roles = _roles(settings)
    if session.status != "ok":
        names = [*(f"topic {name}" for name in roles), *(f"rights on {name}" for name in roles)]
        if settings.guard.enabled and settings.delivery.mode == "exactly_once":
            names.append("transactions")
        names += [f"retention of {name}" for name in _events(settings)]
        names += [name for name, _ in _groups(settings)]
        for name in [*names, "dead-letter size", "topic creation"]:
            yield CheckResult(name, "skip", "no session with Kafka")
        return
    with clients[0] as client:
        unseen: set[str] = set()  # topics of which nothing more can be said than is said already
        for name, topic, look in _looks(settings, client, roles):
            if topic in unseen:
                yield CheckResult(name, "skip", f"see topic {topic}")
                continue
            found = check(name, look, timeout_s)
            if found.status == "fail" and topic is not None and found.found.startswith(_UNSEEN):
                unseen.add(topic)
            yield found


def _roles(settings: Settings) -> dict[str, Role]:
    try:
        return topic_roles(settings)
    except ModerationError:  # the policy file, which has a check of its own
        topics = settings.topics
        roles: dict[str, Role] = dict.fromkeys(topics.events, "events")
        return roles | {topics.verdicts: "verdicts", topics.dead_letters: "dead letters"}


def _looks(
    settings: Settings, client: Admin, roles: Mapping[str, Role]
) -> Iterator[tuple[str, str | None, Callable[[], str]]]:
    """Checks by name, with the topic that each looks at."""
    for name, role in roles.items():
        yield f"topic {name}", name, partial(_topic, settings, client, name, role)
    for name, role in roles.items():
        yield f"rights on {name}", name, partial(_rights, client, name, role)
    for name, group in _groups(settings):
        yield name, None, partial(_group_rights, group, client)
    if settings.guard.enabled and settings.delivery.mode == "exactly_once":
        yield "transactions", None, partial(_transactions, settings, client)
    yield "dead-letter size", settings.topics.dead_letters, partial(_dead_letter_size, settings, client)
    for name in _events(settings):
        yield f"retention of {name}", name, partial(retention, settings, client, name)
    yield "topic creation", None, partial(topic_creation, client)


def _events(settings: Settings) -> tuple[str, ...]:
    return settings.topics.events if settings.guard.enabled else ()


def _groups(settings: Settings) -> list[tuple[str, str]]:
    """Consumer groups, and what their checks are called."""
    group = settings.kafka.group_id
    groups = [("rights on group", group)] if settings.guard.enabled else []
    return [*groups, ("rights on deltas' group", delta_group(group))] if settings.deltas.enabled else groups


def _reach(settings: Settings, timeout_s: float) -> str:
    servers = connection(settings.kafka)["bootstrap_servers"]
    faults = []
    for server in servers:
        host, _, port = server.rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s / len(servers)):
                return f"{server} accepts connections"
        except (OSError, ValueError) as error:
            faults.append(f"{server}: {error}")
    raise ModerationError(f"kafka.bootstrap_servers={settings.kafka.bootstrap_servers}: {', '.join(faults)}")


def _session(settings: Settings, timeout_s: float, clients: list[Admin]) -> str:
    kafka = settings.kafka
    way: str = kafka.security_protocol
    if kafka.sasl_mechanism is not None:
        way += f" {kafka.sasl_mechanism} as {kafka.sasl_username or 'the owner of the token'}"
    try:
        client = Admin(kafka, timeout_s)
    except KafkaTimeoutError:
        raise ModerationError(
            f"no session over {way}: the broker does not answer or refuses; see kafka.security_protocol,"
            " kafka.sasl_… and kafka.ssl_…"
        ) from None
    clients.append(client)
    cluster = client.describe_cluster()
    return f"cluster {cluster['cluster_id']}, {len(cluster['brokers'])} brokers, {way}"


def _topic(settings: Settings, client: Admin, name: str, role: Role) -> str:
    topic = _state(client, name)
    if topic.leaderless:
        raise ModerationError(f"{topic.leaderless} of {topic.partitions} partitions have no leader")
    readers: dict[Role, tuple[str, int]] = {
        "events": ("serve.consumers", settings.serve.consumers),
        "deltas": ("deltas.consumers", settings.deltas.consumers),
    }
    setting, consumers = readers.get(role, ("", 0))
    if topic.partitions < consumers:
        raise ModerationError(f"{topic.partitions} partitions for {setting}={consumers}: some would have nothing to do")
    return f"{role}, {topic.partitions} partitions"


def _state(client: Admin, name: str) -> TopicState:
    try:
        return client.topic_state(name)
    except UnknownTopicOrPartitionError as error:
        raise ModerationError(f"{type(error).__name__}: weir topics apply creates it") from None
    except TopicAuthorizationFailedError as error:
        raise ModerationError(f"{type(error).__name__}: see the ACLs of this user") from None


def _rights(client: Admin, name: str, role: Role) -> str:
    return _compare(_state(client, name).allowed, RIGHTS[role])


def _group_rights(group: str, client: Admin) -> str:
    described = _when_there(lambda: client.describe_groups([group], include_authorized_operations=True))[group]
    if described["group_state"] == "Dead":
        client.list_group_offsets([group])  # raises without DESCRIBE
        return f"{group}: DESCRIBE allowed; READ is not told before the group exists"
    return f"{group}: {_compare(described['authorized_operations'], ('DESCRIBE', 'READ'))}"


def _when_there(ask: Callable[[], Any]) -> Any:
    """Ask a coordinator: the broker makes its topic when it is asked for the first time."""
    for _ in range(_COORDINATOR_TRIES):
        try:
            return ask()
        except CoordinatorNotAvailableError:
            time.sleep(_COORDINATOR_WAIT_S)
    return ask()


def _transactions(settings: Settings, client: Admin) -> str:
    # Workers' ids begin with the group's name, and a right is given for the beginning.
    try:
        _when_there(lambda: client.describe_transactions([transactional_id(settings.kafka)]))
    except TransactionalIdNotFoundError:
        pass
    except TransactionalIdAuthorizationFailedError:
        raise ModerationError(
            f"DESCRIBE and WRITE on transactional ids that begin with {settings.kafka.group_id}- are needed"
        ) from None
    return f"{settings.kafka.group_id}-*: DESCRIBE allowed; WRITE is not told before it is used"


def _compare(allowed: Sequence[str] | None, needed: tuple[str, ...]) -> str:
    if not allowed:
        return f"not told by the broker, {' and '.join(needed)} needed"
    denied = [operation for operation in needed if operation not in allowed]
    if denied:
        raise ModerationError(f"{' and '.join(denied)} not allowed")
    return f"{' and '.join(needed)} allowed"


def _dead_letter_size(settings: Settings, client: Admin) -> str:
    name, limit = settings.topics.dead_letters, settings.limits.max_event_bytes
    size = configs_of(client, name).get("max.message.bytes")
    if size is None:
        return f"{name}: max.message.bytes is not told to this user, {limit + HEADER_BYTES} needed"
    if int(size) < limit + HEADER_BYTES:
        raise ModerationError(
            f"{name}: max.message.bytes={size} is too small for limits.max_event_bytes={limit} and headers:"
            " letters of large events would lose their value"
        )
    if settings.kafka.max_request_bytes < limit + HEADER_BYTES:
        raise ModerationError(
            f"kafka.max_request_bytes={settings.kafka.max_request_bytes} is too small for"
            f" limits.max_event_bytes={limit} and headers"
        )
    return f"{name}: max.message.bytes={size} holds limits.max_event_bytes={limit}"
