"""Makes what the actors of an audit judge and read with.

Each factory is called in an actor, and the rest of `workers.audit` knows only what it returns.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from pipelines.guard import Guard
from schemas.errors import ModerationError
from schemas.record import Partition, SourceRecord
from workers.audit.block_judge import Lane
from workers.audit.block_work import ReadTopic
from workers.audit.manifest import PolicyUsed
from workers.guard.setup import judge_of, length_policy_of, moderation_of, policy_of, structure_rule_of
from workers.settings.loading import Settings

if TYPE_CHECKING:
    from workers.kafka.reader import TopicReader


@dataclass(frozen=True)
class OwnEngine:
    """An engine of the actor's own."""

    settings: Settings

    def __call__(self) -> tuple[Lane, ReadTopic]:
        """See `workers.audit.actors.LaneFactory`.

        Raises:
            ConfigurationError: the model cannot be loaded.
        """
        from workers.serving.local_guard import load_local_guard

        guard = load_local_guard(self.settings.guard)  # in the actor: torch takes seconds
        return lane_of(self.settings, guard, 1, self.settings.guard.gpus_per_replica), topic_range(self.settings)


@dataclass(frozen=True)
class ApplicationReplicas:
    """The guard replicas of the running application, behind its live traffic."""

    settings: Settings

    def __call__(self) -> tuple[Lane, ReadTopic]:
        """See `workers.audit.actors.LaneFactory`."""
        from workers.guard.application import MOST_CALLS, background_guard

        guard = background_guard(self.settings.delivery.call_timeout_s)
        gpus = self.settings.guard.gpus_per_replica
        return lane_of(self.settings, guard, MOST_CALLS, gpus), topic_range(self.settings)


def lane_of(settings: Settings, guard: Guard, calls: int, gpus: float) -> Lane:
    """What an actor judges with.

    Args:
        settings: all settings.
        guard: gives the answers.
        calls: of the guard under way at a time.
        gpus: that the guard occupies.
    """
    limits = settings.guard
    judge = judge_of(settings, guard)
    return Lane(moderation_of(settings), judge, limits.batch_size, limits.batch_tokens, calls, gpus)


def used_policy(settings: Settings) -> PolicyUsed:
    """What a manifest says of policy, length policy and the rule for structure."""
    policy = policy_of(settings)
    fitting = f"{length_policy_of(settings.length).signature} {structure_rule_of(settings.events).signature}"
    return PolicyUsed(name=policy.name, version=policy.version, sha256=policy.sha256, length=fitting)


def topic_range(settings: Settings) -> "TopicRange":
    """What reads offsets of a partition; connects when it is called."""
    return TopicRange(settings)


class TopicRange:
    """Reads offsets of a partition with a client of its own: of no group, and it commits nothing.

    A context manager, for who does not keep it as long as its process.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reader: TopicReader | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._reader is not None:
            self._reader.close()

    def __call__(self, topic: str, partition: int, start: int, end: int) -> Iterator[SourceRecord]:
        from workers.kafka.errors import kafka_faults
        from workers.kafka.reader import OffsetRange, TopicReader

        kafka = self._settings.kafka
        with kafka_faults(kafka):
            if self._reader is None:
                # A live worker reads committed records only.
                self._reader = TopicReader(kafka, isolation="read_committed")
                self._reader.ranges([topic])  # says so where it is gone
            wanted = Partition(topic, partition)
            records = list(self._reader.read({wanted: OffsetRange(start, end)}))
            first = self._reader.first_offsets([wanted])[wanted]
        if first > start:
            raise ModerationError(
                f"{topic}-{partition}: offsets {start} to {min(first, end) - 1} are no longer there: the topic has"
                " dropped them since the run was planned"
            )
        yield from records
