"""An outcome as the records that are produced for it.

A verdict keeps its event's key, so that one conversation's verdicts share a partition and keep their order.
A dead letter, and the verdict of an event without a key, goes to the partition `source partition % n` of its topic, so
that copies of it share one.
"""

from collections.abc import Callable

from pipelines.moderation import Ruling
from schemas.dead_letter import TRACE_HEADERS, DeadLetter
from schemas.record import JSON_CONTENT, OutputRecord, SourceRecord
from workers.settings.sections import TopicSettings


def outcome_topic(ruling: Ruling, topics: TopicSettings) -> str:
    """The topic an outcome goes to first."""
    return topics.dead_letters if isinstance(ruling.outcome, DeadLetter) else topics.verdicts


def outcome_records(
    ruling: Ruling,
    topics: TopicSettings,
    record: SourceRecord,
    trace_headers: list[tuple[str, bytes]],
    partitions_of: Callable[[str], int],
) -> list[OutputRecord]:
    """Records to produce; the outcome is acknowledged when all of them are.

    Args:
        ruling: what became of the record, and the topics that the policy routes it to besides the result topic.
        topics: topic names.
        record: the event's record.
        trace_headers: W3C trace context of the send span.
        partitions_of: tells how many partitions a topic has; not asked where a key chooses.
    """
    outcome = ruling.outcome
    if isinstance(outcome, DeadLetter):
        headers = outcome.record_headers
        if not any(name in TRACE_HEADERS for name, _ in headers):
            headers += [(name, text) for name, text in trace_headers if name in TRACE_HEADERS]  # baggage it has
        value = b"" if outcome.value is None and outcome.key is None else outcome.value
        partition = outcome.source.partition % partitions_of(topics.dead_letters)
        return [OutputRecord(topics.dead_letters, partition, outcome.key, value, headers)]
    headers = [JSON_CONTENT, *trace_headers]
    names = (topics.verdicts, *ruling.topics)
    if record.key is not None:
        return [OutputRecord(topic, None, record.key, outcome.value, headers) for topic in names]
    return [
        OutputRecord(topic, record.partition % partitions_of(topic), None, outcome.value, headers) for topic in names
    ]
