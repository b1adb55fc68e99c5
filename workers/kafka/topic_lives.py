"""Notices input topics that are deleted, or were created again under the same name.

Offsets of a topic's one life mean nothing in the next. The offsets themselves do not tell; only the topic's id does
(brokers from 2.8 on). Does not act on what it sees.
"""

import logging
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from workers.telemetry.log import log_event

log = logging.getLogger(__name__)


class Cluster(Protocol):
    """What a client knows of topics anyway."""

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """Numbers of a topic's partitions; None where there is no such topic."""

    def topic_id(self, topic: str) -> UUID | None:
        """The id of a topic; none or zero where servers do not tell."""


class TopicLives:
    """What is known of some topics.

    Args:
        topics: their names.
    """

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = tuple(topics)
        self._ids: dict[str, UUID] = {}
        self._missing: set[str] = set()

    def begun(self, cluster: Cluster) -> list[str]:
        """Topics that have another id than before; says so, and which ones are missing or found again."""
        begun = []
        for topic in self._topics:
            if cluster.partitions_for_topic(topic) is None:
                if topic not in self._missing:
                    self._missing.add(topic)
                    log.warning(log_event("topic_missing", topic=topic))
                continue
            if topic in self._missing:
                self._missing.remove(topic)
                log.info(log_event("topic_found", topic=topic))
            found = cluster.topic_id(topic)
            if found is None or not found.int:
                continue
            if self._ids.setdefault(topic, found) != found:
                self._ids[topic] = found
                begun.append(topic)
                log.warning(log_event("topic_recreated", topic=topic))
        return begun
