"""What the group knows of this worker's consumer, to be asked from any thread.

Reads kafka-python's heartbeat, whose figures have no public name. Does not join, leave or commit.
"""

import time
from collections import Counter

from kafka import KafkaConsumer
from kafka.coordinator.heartbeat import Heartbeat

NEVER = -float("inf")


class Membership:
    """One consumer's membership of its group."""

    def __init__(self) -> None:
        self._consumer: KafkaConsumer | None = None
        self._assigned_at = NEVER
        self.rebalances: Counter[str] = Counter()  # by what happened: assigned, revoked, lost

    def begin(self, consumer: KafkaConsumer) -> None:
        """The consumer that it is about."""
        self._consumer = consumer

    def assigned(self) -> None:
        """The group has just answered with an assignment."""
        self._assigned_at = time.monotonic()
        self.rebalances["assigned"] += 1

    def metadata(self) -> object:
        """The group metadata that a transaction needs."""
        assert self._consumer is not None
        return self._consumer.group_metadata()

    def is_member(self) -> bool:
        """Whether the coordinator has answered within the session: else others may own the partitions by now."""
        if self._consumer is None:
            return False
        heartbeat: Heartbeat = self._consumer._coordinator.heartbeat  # noqa: SLF001
        session_s: float = heartbeat.config["session_timeout_ms"] / 1000
        # Not its `session_timeout_expired`: that begins anew when the coordinator is given up for dead.
        answered: float = max(heartbeat.last_receive, self._assigned_at)
        return time.monotonic() - answered < session_s
