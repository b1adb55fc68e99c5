"""A client that looks at a cluster and its topics, and creates, changes and deletes topics.

Knows no settings but how to reach the cluster, and nothing of what a topic is for.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import for_code

from schemas.errors import ModerationError
from schemas.record import Partition
from workers.kafka.connection import CONNECT_S, connection
from workers.kafka.unbounded_waits import TidyAdminClient
from workers.settings.sections import KafkaSettings

_UNKNOWN_TOPIC = 3


class NewTopic(NamedTuple):
    """A topic to be created."""

    name: str
    partitions: int
    replication: int = 1
    configs: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class FoundTopic:
    """A topic as it is; `configs` with the broker's defaults."""

    partitions: int
    replication: int
    configs: Mapping[str, str]


class TopicState(NamedTuple):
    """A topic's state, and what this user may do with it; `allowed` is None where the broker does not tell."""

    partitions: int
    leaderless: int
    allowed: Sequence[str] | None


class Admin(TidyAdminClient):
    """kafka-python's admin client, with topics in our words. Use as a context manager.

    Args:
        settings: where Kafka is.
        connect_s: longest wait for a connection or an answer.

    Raises:
        KafkaError: from all methods.
    """

    def __init__(self, settings: KafkaSettings, connect_s: float = CONNECT_S) -> None:
        milliseconds = int(connect_s * 1000)
        super().__init__(**connection(settings), bootstrap_timeout_ms=milliseconds, request_timeout_ms=milliseconds)

    def live_brokers(self) -> int:
        """Brokers that are not fenced."""
        return sum(not broker.get("is_fenced", False) for broker in self.describe_cluster()["brokers"])

    def broker_config(self, name: str) -> str | None:
        """A setting of the first broker; None where it is not told."""
        broker = str(self.describe_cluster()["brokers"][0]["broker_id"])
        resource = ConfigResource(ConfigResourceType.BROKER, broker)
        told = self.describe_configs([resource], config_filter="all").get("broker", {}).get(broker, {}).get(name)
        return None if told is None else told["value"]

    def topic_state(self, name: str) -> TopicState:
        """One topic's state; raises what the broker says where it does not exist or may not be seen."""
        topic = self.describe_topics([name])[0]
        if topic["error_code"]:
            raise for_code(topic["error_code"])(name)
        partitions = topic["partitions"]
        leaderless = sum(partition["leader_id"] < 0 for partition in partitions)
        return TopicState(len(partitions), leaderless, topic.get("authorized_operations"))

    def found_topics(self, names: Iterable[str]) -> dict[str, FoundTopic | None]:
        """What is there of some topics; None for one that does not exist.

        Raises:
            ModerationError: the cluster does not tell.
        """
        topics = {topic["name"]: topic for topic in self.describe_topics(list(names))}
        for name, topic in topics.items():
            if topic["error_code"] not in (0, _UNKNOWN_TOPIC):
                raise ModerationError(f"topic {name}: {for_code(topic['error_code']).__name__}")
        there = [name for name, topic in topics.items() if not topic["error_code"]]
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in there]
        answer = self.describe_configs(resources, config_filter="all").get("topic", {}) if resources else {}
        return {name: _found(topics[name], answer.get(name, {})) if name in there else None for name in topics}

    def create(self, topics: Sequence[NewTopic]) -> list[str]:
        """Create topics and wait until they are there; what was refused, a line each."""
        if not topics:
            return []
        request = {
            topic.name: {
                "num_partitions": topic.partitions,
                "replication_factor": topic.replication,
                "configs": dict(topic.configs),
            }
            for topic in topics
        }
        answer = self.create_topics(request, raise_errors=False)
        faults = [(topic["name"], topic["error_code"], topic["error_message"]) for topic in answer["topics"]]
        refused = {name for name, code, _ in faults if code}
        self.wait_for_topics([name for name in request if name not in refused])
        return _described(faults)

    def grow(self, partitions: Mapping[str, int]) -> list[str]:
        """Raise the number of partitions of topics; returns what was refused, a line each."""
        if not partitions:
            return []
        answer = self.create_partitions(dict(partitions), raise_errors=False)
        return _described((result.name, result.error_code, result.error_message) for result in answer.results)

    def configure(self, configs: Mapping[str, Mapping[str, str]]) -> list[str]:
        """Set some of the topics' configs; what was refused, a line each."""
        if not configs:
            return []
        resources = [ConfigResource(ConfigResourceType.TOPIC, name, dict(changes)) for name, changes in configs.items()]
        answer = self.alter_configs(resources, raise_on_unknown=False)["topic"]
        return [f"topic {name}: {result}" for name, result in answer.items() if result != "OK"]

    def delete_before(self, offsets: Mapping[Partition, int]) -> None:
        """Delete the records before an offset of each partition; some may be gone when it raises."""
        self.delete_records({TopicPartition(*partition): offset for partition, offset in offsets.items()})


def _found(topic: Mapping[str, Any], configs: Mapping[str, Mapping[str, Any]]) -> FoundTopic:
    partitions = topic["partitions"]
    return FoundTopic(
        len(partitions),
        min((len(partition["replica_nodes"]) for partition in partitions), default=0),
        {key: str(entry["value"]) for key, entry in configs.items() if entry["value"] is not None},
    )


def _described(answers: Iterable[tuple[str, int, str | None]]) -> list[str]:
    return [f"topic {name}: {for_code(code).__name__}: {message}" for name, code, message in answers if code]
