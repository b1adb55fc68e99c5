"""The ledger of a broker's topics, read to the ends that they have."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from kafka import OffsetAndMetadata, TopicPartition

from schemas.errors import ConfigurationError
from schemas.record import Partition, SourceRecord
from tests.samples.outcomes import letter_of, verdict_of, written
from workers.demo.broker import EmbeddedBroker
from workers.kafka.connection import group_consumer
from workers.kafka.producer import producer
from workers.kafka.reader import OffsetRange
from workers.settings.loading import Settings, load_settings
from workers.settings.sections import TopicSettings
from workers.tools.verify.verify import Bounds, verify

TOPICS = TopicSettings()
EVENTS = TOPICS.events[0]


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    with EmbeddedBroker((EVENTS, TOPICS.verdicts, TOPICS.dead_letters)) as broker:
        yield load_settings(kafka={"bootstrap_servers": broker.bootstrap_servers, "api_version": broker.api_version})


def test_the_topics_of_a_broker_are_read_to_their_ends(settings: Settings) -> None:
    sender = producer(settings.kafka)
    sources = []
    for index in range(40):
        stored = sender.send(EVENTS, b"{", b"k%d" % index).get(10)
        sources.append(
            SourceRecord(EVENTS, stored.partition, stored.offset, stored.timestamp, b"k%d" % index, b"{", ())
        )
    for index, source in enumerate(sources[:39]):
        outcome = letter_of(source) if index % 4 == 0 else verdict_of(source)
        record = written(outcome, source.key, settings.topics, 4)
        sender.send(record.topic, record.value, record.key, record.headers, partition=record.partition)
    sender.flush()

    steps: list[tuple[int, int]] = []
    ledger = verify(settings, progress=lambda done, total: steps.append((done, total)))
    assert (ledger.inputs, ledger.verdicts, ledger.dead_letters) == (40, 29, 10)
    assert (ledger.missing, ledger.not_yet_judged) == (0, 1)  # nothing is committed
    assert replace(ledger, tail_allowed=True).is_proven
    assert steps[-1] == (79, 79)

    assert verify(settings, allow_tail=True).is_proven
    last = sources[39]
    commit(settings, last)
    assert verify(settings, allow_tail=True).findings[0].record_id == last.record_id  # committed, so lost

    record = written(verdict_of(last), last.key, settings.topics)
    sender.send(record.topic, record.value, record.key, record.headers).get(10)
    sender.close()
    assert verify(settings).is_proven


def commit(settings: Settings, record: SourceRecord) -> None:
    """Commit past a record."""
    member = group_consumer(settings.kafka)
    partition = TopicPartition(record.topic, record.partition)
    member.assign([partition])
    member.commit({partition: OffsetAndMetadata(record.offset + 1, "", -1)})
    member.close(autocommit=False)


@pytest.mark.parametrize(
    ("bounds", "fault"),
    [
        (Bounds(start={(None, 99): 0}), "partition 99: not of an input topic"),
        (Bounds(end={("other", 0): 0}), "partition other-0: not of an input topic"),
    ],
)
def test_a_bound_of_no_input_partition_is_refused_by_name(settings: Settings, bounds: Bounds, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        verify(settings, bounds)


def test_a_bound_of_several_topics_has_to_say_which() -> None:
    held = {Partition(topic, 0): OffsetRange(0, 9) for topic in ("a", "b")}
    with pytest.raises(ConfigurationError, match="say TOPIC:PARTITION:OFFSET"):
        Bounds(start={(None, 0): 3}).cut(held)
    assert Bounds(start={("b", 0): 3}, end={("b", 0): 5}).cut(held) == {
        Partition("a", 0): OffsetRange(0, 9),
        Partition("b", 0): OffsetRange(3, 5),
    }
