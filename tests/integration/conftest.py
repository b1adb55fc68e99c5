"""What the integration tier shares."""

from collections.abc import Iterator

import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from tests.integration.letter_bench import LetterBench
from tests.kafka.cluster import KafkaCluster
from tests.stream.conftest import Bench, Broker

PARTITIONS = 6


@pytest.fixture
def wide_bench(kafka: KafkaCluster) -> Iterator[Bench]:
    """Topics of six partitions."""
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap.split(","))
    made = Bench(Broker(kafka.bootstrap, None, lambda name: admin.create_topics([NewTopic(name, PARTITIONS, 1)])))
    yield made
    made.close()
    admin.close()


@pytest.fixture
def letters(kafka: KafkaCluster) -> Iterator[LetterBench]:
    """Topics of a test that is about dead letters."""
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap.split(","))
    made = LetterBench(kafka, admin)
    yield made
    made.close()
    admin.close()
