"""Makes another server lead: an orderly move of leaders, and who is who among the servers.

Servers are counted from 0. Kills nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from kafka import KafkaAdminClient, TopicPartition
from kafka.errors import KafkaError

from tests.chaos.waiting import wait_until

PREFERRED = 0
OFFSETS, OFFSETS_PARTITIONS = "__consumer_offsets", 4


class Leaders:
    """Who leads what.

    Args:
        bootstrap: servers, past all proxies.
    """

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap

    def move(self, topics: Collection[str]) -> None:
        """Hand every partition of some topics to the next of its replicas, and wait until that one leads."""
        with self._admin() as admin:
            replicas = {
                TopicPartition(topic["name"], partition["partition_index"]): partition["replica_nodes"]
                for topic in admin.describe_topics(list(topics))
                for partition in topic["partitions"]
            }
            wanted = {tp: nodes[1:] + nodes[:1] for tp, nodes in replicas.items()}
            admin.alter_partition_reassignments(wanted)
            wait_until(lambda: _do_lead(admin, wanted), "the new leaders")

    def of_partition(self, topic: str, partition: int = 0) -> int:
        """The server that leads a partition; -1 where none does."""
        with self._admin() as admin:
            return _leaders(admin, [topic])[TopicPartition(topic, partition)] - 1

    def of_group(self, group: str) -> int:
        """The server that coordinates a group: it leads the partition that Java's hash of the name says."""
        number = 0
        for character in group:
            number = (31 * number + ord(character)) & 0xFFFFFFFF
        return self.of_partition(OFFSETS, (number & 0x7FFFFFFF) % OFFSETS_PARTITIONS)

    def of_cluster(self) -> int:
        """The active controller."""
        with self._admin() as admin:
            (topic,) = admin.describe_metadata_quorum()["topics"]
        return int(topic["partitions"][0]["leader_id"]) - 1

    @contextmanager
    def _admin(self) -> Iterator[KafkaAdminClient]:
        admin = KafkaAdminClient(bootstrap_servers=self._bootstrap.split(","))
        try:
            yield admin
        finally:
            admin.close()


def _do_lead(admin: KafkaAdminClient, wanted: Mapping[TopicPartition, list[int]]) -> bool:
    topics = sorted({tp.topic for tp in wanted})
    try:
        if admin.list_partition_reassignments(list(wanted)):
            return False
        numbers = {topic: [tp.partition for tp in wanted if tp.topic == topic] for topic in topics}
        admin.elect_leaders(PREFERRED, numbers, raise_errors=False)
        leaders = _leaders(admin, topics)
    except KafkaError:
        return False
    return all(leaders[tp] == nodes[0] for tp, nodes in wanted.items())


def _leaders(admin: KafkaAdminClient, topics: list[str]) -> dict[TopicPartition, int]:
    return {
        TopicPartition(topic["name"], partition["partition_index"]): partition["leader_id"]
        for topic in admin.describe_topics(topics)
        for partition in topic["partitions"]
    }
