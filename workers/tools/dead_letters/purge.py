"""Deletes the first records of the dead-letter topic's partitions, up to a time, up to an offset, or all of them.

What is to go is fixed before the operator is asked: a letter that is written meanwhile stays. Deletes records only,
never the topic, and cannot be undone.
"""

from collections.abc import Mapping

from schemas.errors import ConfigurationError, ModerationError
from schemas.record import Partition
from workers.kafka.admin import Admin
from workers.kafka.errors import KafkaError, TopicAuthorizationFailedError, first_line, kafka_faults
from workers.kafka.reader import OffsetRange, OffsetRanges, OffsetsRead, Progress, TopicReader
from workers.settings.loading import Settings
from workers.tools.dead_letters.dead_letters import Histogram, histogram, read_letter


def plan_purge(
    settings: Settings, *, before_ms: int | None = None, before_offsets: Mapping[int, int] | None = None
) -> dict[Partition, OffsetRange]:
    """The offsets that would go, of each partition with any.

    Args:
        settings: the topic and where Kafka is.
        before_ms: what stands before the first record of that time or later; records whose timestamps are not in order
            may therefore stay, and never go too early.
        before_offsets: for each partition the first offset to stay; other partitions are left alone.
            Without either, all that is there now.

    Raises:
        ConfigurationError: the topic has no such partition or offset.
        ModerationError: Kafka does not answer, or the topic is not there.
    """
    topic = settings.topics.dead_letters
    with kafka_faults(settings.kafka), TopicReader(settings.kafka) as reader:
        ranges = reader.ranges((topic,), until_ms=before_ms)
    if before_offsets is not None:
        for number, offset in before_offsets.items():
            held = ranges.get(Partition(topic, number))
            if held is None or offset > held.end:
                raise ConfigurationError(f"{number}:{offset}: {topic} has no such partition, or ends before")
        ranges = {
            partition: OffsetRange(held.start, before_offsets.get(partition.number, held.start))
            for partition, held in ranges.items()
        }
    return {partition: offsets for partition, offsets in ranges.items() if offsets.start < offsets.end}


def count_letters(
    settings: Settings, ranges: OffsetRanges, progress: Progress = lambda _done, _total: None
) -> Histogram:
    """Count what stands at some offsets of the topic."""
    with kafka_faults(settings.kafka), TopicReader(settings.kafka) as reader:
        return histogram(read_letter(record) for record in reader.read(ranges, OffsetsRead(progress, ranges)))


def purge(settings: Settings, ranges: OffsetRanges) -> None:
    """Delete what was planned.

    Raises:
        ModerationError: the cluster refuses; of some partitions the records may be gone by then.
    """
    topic = settings.topics.dead_letters
    if not ranges:
        return
    with kafka_faults(settings.kafka), Admin(settings.kafka) as client:
        try:
            client.delete_before({partition: offsets.end for partition, offsets in ranges.items()})
        except KafkaError as error:
            what = first_line(error)
            if TopicAuthorizationFailedError.__name__ in what:  # of several partitions it says so in words only
                raise ModerationError(f"topic {topic}: DELETE is not allowed to this user") from None
            raise ModerationError(f"{what}; other partitions may have been purged, run again") from None
