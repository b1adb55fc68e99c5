"""Notices input topics that are deleted, or were created again under the same name.

Offsets of a topic's one life mean nothing in the next. The offsets themselves do not tell; only the topic's id does
(brokers from 2.8 on), so it is stored beside each: a worker that is killed may have committed an offset of the former
life into the next one. Does not act on what it sees.
"""

import logging
import re
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from workers.telemetry.log import log_event

log = logging.getLogger(__name__)
_LIFE = re.compile("life=[0-9a-f]{32};")


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

    Attributes:
        marks: by topic, where its life is known: what begins a text that is stored beside offsets of it.
    """

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = tuple(topics)
        self._ids: dict[str, UUID] = {}
        self._missing: set[str] = set()
        self.marks: dict[str, str] = {}

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
            self.marks[topic] = f"life={found.hex};"
            if self._ids.setdefault(topic, found) != found:
                self._ids[topic] = found
                begun.append(topic)
                log.warning(log_event("topic_recreated", topic=topic))
        return begun

    def is_of_another(self, topic: str, stored: str) -> bool:
        """Whether what is stored beside an offset says that it is of another life of the topic than this one."""
        found, mark = _LIFE.match(stored), self.marks.get(topic)
        return found is not None and mark is not None and found[0] != mark


def unmarked(stored: str) -> str:
    """The text that was marked."""
    return _LIFE.sub("", stored, count=1)
