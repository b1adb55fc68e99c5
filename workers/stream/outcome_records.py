"""An outcome as the records that are produced for it.

A verdict keeps its event's key, so that one conversation's verdicts share a partition and keep their order.
A dead letter goes to the partition `source partition % n` of its topic.
"""

from pipelines.moderation import Ruling
from schemas.dead_letter import TRACE_HEADERS, DeadLetter
from schemas.record import OutputRecord
from workers.sections import TopicSettings

CONTENT_TYPE = ("content-type", b"application/json")


def outcome_topic(ruling: Ruling, topics: TopicSettings) -> str:
    """The topic an outcome goes to first."""
    return topics.dead_letters if isinstance(ruling.outcome, DeadLetter) else topics.verdicts


def outcome_records(
    ruling: Ruling,
    topics: TopicSettings,
    key: bytes | None,
    trace_headers: list[tuple[str, bytes]],
    dead_letter_partitions: int,
) -> list[OutputRecord]:
    """Records to produce; the outcome is acknowledged when all of them are.

    Args:
        ruling: outcome and extra topics.
        topics: topic names.
        key: key of the event's record.
        trace_headers: W3C trace context of the send span.
        dead_letter_partitions: partitions of the dead-letter topic.
    """
    outcome = ruling.outcome
    if isinstance(outcome, DeadLetter):
        headers = outcome.record_headers
        if not any(name in TRACE_HEADERS for name, _ in headers):
            headers += trace_headers
        value = b"" if outcome.value is None and outcome.key is None else outcome.value
        partition = outcome.source.partition % dead_letter_partitions
        return [OutputRecord(topics.dead_letters, partition, outcome.key, value, headers)]
    value = outcome.to_bytes()
    headers = [CONTENT_TYPE, *trace_headers]
    return [OutputRecord(topic, None, key, value, headers) for topic in (topics.verdicts, *ruling.topics)]
