"""Deletes the first records of the dead-letter topic's partitions, up to a time, an offset, or all that are there.

What is to go is fixed before anybody is asked: a letter that is written meanwhile stays. Deletes records only, never
the topic, and cannot be undone.
"""

from collections.abc import Callable, Mapping

from kafka import TopicPartition
from kafka.errors import KafkaError, TopicAuthorizationFailedError

from schemas.errors import ConfigurationError, ModerationError
from workers.kafka.reader import OffsetRange, Spans, TopicReader, admin, kafka_faults
from workers.settings.loading import Settings
from workers.tools.dead_letters.dead_letters import Histogram, histogram, read_letter

Progress = Callable[[int, int], None]


def plan_purge(
    settings: Settings, *, before_ms: int | None = None, before_offsets: Mapping[int, int] | None = None
) -> dict[TopicPartition, OffsetRange]:
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
        spans = reader.spans((topic,), until_ms=before_ms)
    if before_offsets is not None:
        for partition, offset in before_offsets.items():
            span = spans.get(TopicPartition(topic, partition))
            if span is None or offset > span.end:
                raise ConfigurationError(f"{partition}:{offset}: {topic} has no such partition, or ends before")
        spans = {
            tp: OffsetRange(span.start, before_offsets.get(tp.partition, span.start)) for tp, span in spans.items()
        }
    return {tp: span for tp, span in spans.items() if span.start < span.end}


def count_letters(settings: Settings, spans: Spans, progress: Progress = lambda _done, _total: None) -> Histogram:
    """Count what stands at some offsets of the topic."""
    total, done = offsets_of(spans), 0

    def advanced(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    with kafka_faults(settings.kafka), TopicReader(settings.kafka) as reader:
        return histogram(read_letter(record) for record in reader.read(spans, advanced))


def offsets_of(spans: Spans) -> int:
    """How many offsets these are: as many records at most."""
    return sum(span.end - span.start for span in spans.values())


def purge(settings: Settings, spans: Spans) -> None:
    """Delete what was planned.

    Raises:
        ModerationError: the cluster refuses; of some partitions the records may be gone by then.
    """
    topic = settings.topics.dead_letters
    if not spans:
        return
    with kafka_faults(settings.kafka), admin(settings.kafka) as client:
        try:
            client.delete_records({tp: span.end for tp, span in spans.items()})
        except KafkaError as error:
            what = str(error).partition("\n")[0]
            if TopicAuthorizationFailedError.__name__ in what:  # of several partitions it says so in words only
                raise ModerationError(f"topic {topic}: DELETE is not allowed to this user") from None
            raise ModerationError(f"{what}; other partitions may have been purged, run again") from None
