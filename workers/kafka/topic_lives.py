"""Input topics that are deleted, and those that were created again under the same name.

Offsets of one life mean nothing in the next, and Kafka's do not tell: only the topic's id does (brokers from 2.8 on).
Does not act on what it sees.
"""

import logging
from collections.abc import Sequence
from uuid import UUID

from kafka import KafkaConsumer

from workers.telemetry.log import log_event

log = logging.getLogger(__name__)


class TopicLives:
    """What is known of some topics.

    Args:
        topics: their names.
    """

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = tuple(topics)
        self._ids: dict[str, UUID] = {}
        self._missing: set[str] = set()

    def begun(self, consumer: KafkaConsumer) -> list[str]:
        """Topics that have another id than before; says so, and which ones are missing or found again. Never waits."""
        cluster = consumer._cluster  # noqa: SLF001 - what the client knows anyway; its public questions may wait
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
