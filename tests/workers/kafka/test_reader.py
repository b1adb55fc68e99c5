"""What commands read of a cluster: ranges of offsets, how far a reading has got, and what a group has committed."""

from collections.abc import Iterator

import pytest

from schemas.errors import ModerationError
from schemas.record import Partition
from workers.demo.broker import EmbeddedBroker
from workers.kafka.producer import producer
from workers.kafka.reader import (
    CommittedOffset,
    GroupOffsets,
    OffsetRange,
    OffsetsRead,
    TopicReader,
    committed_offsets,
    offsets_in,
)
from workers.settings.loading import load_settings
from workers.settings.sections import KafkaSettings

TOPIC = "letters"
FIRST, SECOND = Partition(TOPIC, 0), Partition(TOPIC, 1)


@pytest.fixture(scope="module")
def kafka() -> Iterator[KafkaSettings]:
    """A broker with five records in the first partition of a topic, and three in the second."""
    with EmbeddedBroker((TOPIC,)) as broker:
        servers = {"bootstrap_servers": broker.bootstrap_servers, "api_version": broker.api_version}
        settings = load_settings(kafka=servers).kafka
        sender = producer(settings)
        for partition, count in ((FIRST, 5), (SECOND, 3)):
            for number in range(count):
                sender.send(TOPIC, b"%d" % number, partition=partition.number).get(10)
        sender.close()
        yield settings


def test_a_topic_is_read_to_its_end_partition_by_partition_and_each_step_is_told(kafka: KafkaSettings) -> None:
    steps: list[tuple[int, int]] = []
    with TopicReader(kafka) as reader:
        ranges = reader.ranges([TOPIC])
        wanted = {partition: ranges[partition] for partition in (FIRST, SECOND)}
        values = {partition: list[bytes | None]() for partition in wanted}
        for record in reader.read(wanted, OffsetsRead(lambda done, total: steps.append((done, total)), wanted)):
            values[record.topic_partition].append(record.value)
    assert wanted == {FIRST: OffsetRange(0, 5), SECOND: OffsetRange(0, 3)}
    assert values == {FIRST: [b"0", b"1", b"2", b"3", b"4"], SECOND: [b"0", b"1", b"2"]}
    assert steps[-1] == (8, 8)
    assert steps == sorted(steps)


def test_part_of_a_partition_is_read_and_no_more(kafka: KafkaSettings) -> None:
    with TopicReader(kafka) as reader:
        read = [record.offset for record in reader.read({FIRST: OffsetRange(1, 3)})]
    assert read == [1, 2]


def test_several_readings_are_told_as_one() -> None:
    steps: list[tuple[int, int]] = []
    inputs, outcomes = {FIRST: OffsetRange(2, 7)}, {SECOND: OffsetRange(0, 3)}
    read = OffsetsRead(lambda done, total: steps.append((done, total)), inputs, outcomes)
    for count in (5, 1, 2):
        read(count)
    assert steps == [(5, 8), (6, 8), (8, 8)]
    assert offsets_in(inputs) == 5


def test_a_groups_offsets_are_kept_with_a_text_beside_each(kafka: KafkaSettings) -> None:
    settings = kafka.model_copy(update={"group_id": "keeper"})
    with GroupOffsets(settings, "keeper") as offsets:
        assert offsets.committed(FIRST) is None
        offsets.commit({FIRST: CommittedOffset(4, '{"left": [1]}')})
    with GroupOffsets(settings, "keeper") as later:
        assert later.committed(FIRST) == CommittedOffset(4, '{"left": [1]}')
        assert later.committed(SECOND) is None
    assert committed_offsets(settings, [FIRST, SECOND]) == {FIRST: 4}


def test_a_partition_that_gives_nothing_is_named_with_its_offset(kafka: KafkaSettings) -> None:
    with TopicReader(kafka) as reader, pytest.raises(ModerationError, match="from letters-1 at 3"):
        list(reader.read({SECOND: OffsetRange(3, 9)}, patience_s=0.0))
