"""The topics that the settings need: compares them with what is there, creates and changes them.

Never shrinks, deletes or moves a topic, and adds partitions only when told to, because with more partitions the rest of
a conversation may go to another one. Does not create users or ACLs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.policy import load_policy
from schemas.errors import ConfigurationError, ModerationError
from workers.kafka.admin import Admin, FoundTopic, NewTopic
from workers.kafka.errors import kafka_faults
from workers.settings.loading import Settings

MOST_REPLICAS = 3
HEADER_BYTES = 65_536
DEAD_LETTER_RETENTION_MS = 30 * 24 * 3600 * 1000
# For these the wanted value is the least; an operator may have more.
_AT_LEAST = frozenset({"max.message.bytes", "retention.ms", "min.insync.replicas"})
Role = Literal[
    "events", "verdicts", "dead letters", "routed verdicts", "parked letters", "shadow", "deltas", "turn verdicts"
]
Status = Literal["missing", "differs", "fine"]


@dataclass(frozen=True, slots=True)
class WantedTopic:
    """A topic as the settings need it."""

    name: str
    role: Role
    partitions: int
    replication: int
    configs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """What `apply_plans` does about one topic (`configs`, `grow`, or creating it), and what it will not (`left`)."""

    wanted: WantedTopic
    found: FoundTopic | None
    configs: Mapping[str, tuple[str, str]]
    grow: bool
    left: tuple[str, ...]

    @property
    def status(self) -> Status:
        """Whether there is a difference."""
        if self.found is None:
            return "missing"
        return "differs" if self.configs or self.grow or self.left else "fine"

    @property
    def changes(self) -> list[str]:
        """What would be done, one line each."""
        wanted, found = self.wanted, self.found
        if found is None:
            configs = "".join(f", {key}={value}" for key, value in wanted.configs.items())
            return [f"create: {wanted.partitions} partitions, replication {wanted.replication}{configs}"]
        grow = [f"partitions: {found.partitions} -> {wanted.partitions}"] if self.grow else []
        return grow + [f"{key}: {now} -> {then}" for key, (now, then) in self.configs.items()]


def plan_topics(
    settings: Settings,
    *,
    partitions: int = 12,
    replication: int | None = None,
    allow_growth: bool = False,
) -> list[TopicPlan]:
    """Compare what the settings need with what is there.

    Args:
        settings: topic names, sizes, the policy and where Kafka is.
        partitions: of every topic.
        replication: of every topic; 3, or the number of brokers where it is less, if None.
        allow_growth: adding partitions is part of the plan.

    Raises:
        ModerationError: Kafka does not answer, or a topic may not be seen.
    """
    with kafka_faults(settings.kafka), Admin(settings.kafka) as client:
        roles = topic_roles(settings)
        # No worker needs it to run, so it is not among the roles that `weir check` asks for.
        roles.setdefault(settings.topics.parking, "parked letters")
        found = client.found_topics(roles)
        copies = replication or min(MOST_REPLICAS, client.live_brokers())
        wanted = wanted_topics(settings, roles, partitions, copies, found)
        return [compare(topic, found[topic.name], allow_growth=allow_growth) for topic in wanted]


def apply_plans(settings: Settings, plans: Sequence[TopicPlan]) -> None:
    """Do what the plans say, but nothing of what they leave.

    Raises:
        ModerationError: names each topic that the cluster refused, and why; the others are done.
    """
    with kafka_faults(settings.kafka), Admin(settings.kafka) as client:
        missing = [plan.wanted for plan in plans if plan.found is None]
        faults = client.create([NewTopic(it.name, it.partitions, it.replication, it.configs) for it in missing])
        faults += client.grow({plan.wanted.name: plan.wanted.partitions for plan in plans if plan.grow})
        changed = {plan.wanted.name: {key: then for key, (_, then) in plan.configs.items()} for plan in plans}
        faults += client.configure({name: configs for name, configs in changed.items() if configs})
    if faults:
        raise ModerationError("; ".join(faults))


def topic_roles(settings: Settings) -> dict[str, Role]:
    """Every topic that the settings and the policy name, and that something reads or writes.

    Raises:
        ConfigurationError: the policy routes verdicts to an input or dead-letter topic.
    """
    topics = settings.topics
    turns: dict[str, Role] = (
        {topics.deltas: "deltas", topics.stream: "turn verdicts"} if settings.deltas.enabled else {}
    )
    if not settings.guard.enabled:
        return {**turns, topics.dead_letters: "dead letters"} if turns else {}
    roles: dict[str, Role] = dict.fromkeys(topics.events, "events")
    roles |= {topics.verdicts: "verdicts", topics.dead_letters: "dead letters"}
    for name in load_policy(settings.policy.file).topics:
        if roles.get(name, "verdicts") != "verdicts":
            raise ConfigurationError(
                f"policy.file={settings.policy.file}: routes verdicts to {name}, the {roles[name]}"
            )
        roles.setdefault(name, "routed verdicts")
    if settings.shadow.enabled:
        if topics.shadow in roles:
            raise ConfigurationError(
                f"policy.file={settings.policy.file}: routes verdicts to {topics.shadow}, the shadow"
            )
        roles[topics.shadow] = "shadow"
    return roles | turns


def wanted_topics(
    settings: Settings,
    roles: Mapping[str, Role],
    partitions: int,
    replication: int,
    found: Mapping[str, FoundTopic | None],
) -> list[WantedTopic]:
    """The topics of these roles as they should be, beside what there is."""
    event_bytes = settings.limits.max_event_bytes + HEADER_BYTES
    # Whatever an event topic lets in, also what is too large to be judged, has to fit as a dead letter.
    let_in = [
        int(topic.configs.get("max.message.bytes", 0))
        for name, role in roles.items()
        if role in ("events", "deltas") and (topic := found.get(name)) is not None
    ]
    letter_bytes = max([event_bytes, *let_in]) + HEADER_BYTES
    verdicts = {"max.message.bytes": str(letter_bytes)}  # with any key that an event topic lets in
    letters = {"max.message.bytes": str(letter_bytes), "retention.ms": str(DEAD_LETTER_RETENTION_MS)}
    of_role: dict[Role, dict[str, str]] = {
        "events": {"max.message.bytes": str(event_bytes)},
        "deltas": {"max.message.bytes": str(event_bytes)},
        "verdicts": verdicts,
        "routed verdicts": verdicts,
        "dead letters": letters,
        "parked letters": letters,
    }
    wanted = []
    for name, role in roles.items():
        topic = found.get(name)
        copies = replication if topic is None else topic.replication
        safe = {"min.insync.replicas": "2"} if copies >= MOST_REPLICAS else {}
        configs = {"cleanup.policy": "delete", **safe, **of_role.get(role, {})}
        wanted.append(WantedTopic(name, role, partitions, replication, configs))
    return wanted


def compare(wanted: WantedTopic, found: FoundTopic | None, *, allow_growth: bool) -> TopicPlan:
    """The plan of one topic."""
    if found is None:
        return TopicPlan(wanted, None, {}, grow=False, left=())
    configs = {
        key: (found.configs.get(key, "?"), value)
        for key, value in wanted.configs.items()
        if not _fits(key, found.configs.get(key), value)
    }
    left = []
    more = wanted.partitions > found.partitions
    if more and not allow_growth:
        left.append(
            f"{found.partitions} partitions, {wanted.partitions} wanted: growing moves keys to other partitions,"
            " --allow-partition-growth does it"
        )
    elif wanted.partitions < found.partitions:
        left.append(f"{found.partitions} partitions, {wanted.partitions} wanted: Kafka never takes partitions away")
    if found.replication != wanted.replication:
        left.append(f"replication {found.replication}, {wanted.replication} wanted: needs a reassignment")
    return TopicPlan(wanted, found, configs, grow=more and allow_growth, left=tuple(left))


def _fits(key: str, found: str | None, wanted: str) -> bool:
    if key not in _AT_LEAST or found is None:
        return found == wanted
    return int(found) >= int(wanted) or (key == "retention.ms" and found == "-1")
