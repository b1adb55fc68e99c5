"""Dead letters without a worker: topics of a test, events in one, and what stands for each in another."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import confluent_kafka
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from schemas.dead_letter import REDRIVE_COUNT, DeadLetter, dead_letter
from schemas.errors import TerminalError
from schemas.reasons import Reason
from schemas.record import Headers, SourceRecord
from tests.integration.ends import DLQ_PARTITIONS
from tests.kafka.cluster import KafkaCluster
from tests.samples.outcomes import written
from tests.site import Broker, Site
from workers.kafka.reader import TopicReader
from workers.tools.dead_letters.dead_letters import Filters
from workers.tools.dead_letters.redrive.letters import Selection
from workers.tools.dead_letters.redrive.redrive import RedriveOrder

PARTITIONS = 4
PartitionOffset = tuple[int, int]


class LetterSite(Site):
    """Topics of a test, and dead letters in them that need no worker."""

    def __init__(self, kafka: KafkaCluster, admin: KafkaAdminClient) -> None:
        self.admin = admin

        def create(name: str) -> None:
            partitions = DLQ_PARTITIONS if name.startswith("dlq") else PARTITIONS
            admin.create_topics([NewTopic(name, partitions, 1, topic_configs={"max.message.bytes": "2000000"})])

        super().__init__(Broker(kafka.bootstrap, None, create))
        self.create = create
        self.client = confluent_kafka.Producer({"bootstrap.servers": kafka.bootstrap, "acks": "all", "log_level": 0})

    @property
    def group(self) -> str:
        return f"{self.settings.kafka.group_id}.redrive"

    def write(
        self, topic: str, value: bytes | None, key: bytes | None = None, headers: Headers = (), partition: int = 0
    ) -> PartitionOffset:
        """Write one record, null or not; returns where it is."""
        stored: list[PartitionOffset] = []
        self.client.produce(
            topic, value, key, partition, lambda _, message: stored.append((message.partition(), message.offset())),
            headers=list(headers),
        )  # fmt: skip
        assert self.client.flush(20) == 0
        return stored[0]

    def die(
        self,
        number: int,
        *,
        reason: Reason = Reason.INFERENCE_FAILED,
        tenant: str = "kids",
        change: Callable[[DeadLetter], DeadLetter] = lambda letter: letter,
        headers: Headers = (),
    ) -> SourceRecord:
        """An event in its topic and its dead letter; returns the event."""
        value, key = json.dumps({"event_id": f"e{number}", "text": "x", "tenant": tenant}).encode(), b"k%d" % number
        partition, offset = self.write(self.names[0], value, key, headers, number % PARTITIONS)
        source = SourceRecord(self.names[0], partition, offset, 0, key, value, headers)
        letter = change(dead_letter(source, TerminalError(reason, "a fault"), group="weir"))
        record = written(letter, key, self.settings.topics, DLQ_PARTITIONS)
        self.write(record.topic, record.value, record.key, tuple(record.headers), record.partition or 0)
        return source

    def put_back(self) -> list[SourceRecord]:
        """What redrives have written to the event topic, partition by partition in order."""
        return [record for record in self.records(0) if record.header(REDRIVE_COUNT) is not None]

    def park(self) -> str:
        """Create the parking topic."""
        self.create(self.settings.topics.parking)
        return self.settings.topics.parking

    def read(self, topic: str) -> list[SourceRecord]:
        with TopicReader(self.settings.kafka) as reader:
            return list(reader.read(reader.ranges([topic])))


def order(to: str | None = None, filters: Filters | None = None, **options: Any) -> RedriveOrder:
    return RedriveOrder(Selection(filters or Filters(), to), **options)


def ids(records: list[SourceRecord]) -> Counter[str]:
    return Counter(json.loads(record.value or b"")["event_id"] for record in records)


def once(*numbers: int) -> Counter[str]:
    return Counter(f"e{number}" for number in numbers)


def foreign(family: str, topic: str, source: PartitionOffset) -> Headers:
    """The headers with which another tool says where a record was."""
    values = {"topic": topic, "partition": str(source[0]), "offset": str(source[1])}
    return tuple((family + name, value.encode()) for name, value in values.items())
