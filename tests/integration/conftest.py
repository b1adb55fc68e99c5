"""What the integration tier shares."""

from collections.abc import Iterator

import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from tests.integration.letter_site import LetterSite
from tests.kafka.cluster import KafkaCluster
from tests.site import Broker, Site

PARTITIONS = 6


@pytest.fixture
def wide_site(kafka: KafkaCluster) -> Iterator[Site]:
    """Topics of six partitions."""
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap.split(","))
    made = Site(Broker(kafka.bootstrap, None, lambda name: admin.create_topics([NewTopic(name, PARTITIONS, 1)])))
    yield made
    made.close()
    admin.close()


@pytest.fixture
def letters(kafka: KafkaCluster) -> Iterator[LetterSite]:
    """Topics of a test that is about dead letters."""
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap.split(","))
    made = LetterSite(kafka, admin)
    yield made
    made.close()
    admin.close()
