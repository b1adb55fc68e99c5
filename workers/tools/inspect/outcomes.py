"""Finds what became of one event: its verdicts and dead letters on the output topics, and the spans they lead to.

Shows nothing, and reads no spans.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from schemas.dead_letter import read_dead_letter
from schemas.record import SourceRecord
from schemas.verdict import Verdict
from workers.kafka.errors import kafka_faults
from workers.kafka.reader import OffsetsRead, Progress, TopicReader
from workers.settings.loading import Settings
from workers.telemetry.span_encoding import SpanContext, read_traceparent


@dataclass(frozen=True)
class EventOutcome:
    """One outcome of an event.

    Attributes:
        record: as published.
        source: `topic-partition-offset` of the event.
        end: severity and action of a verdict, reason of a dead letter.
        context: the span that the record's headers name; None where they name none.
    """

    record: SourceRecord
    source: str
    end: str
    is_dead_letter: bool
    context: SpanContext | None


def find_outcomes(settings: Settings, wanted: str, since_ms: int | None, progress: Progress) -> list[EventOutcome]:
    """All outcomes of one event, in the order of their topics.

    Args:
        settings: where Kafka is, and the topics.
        wanted: event id, verdict id, or the event's source, `topic-partition-offset`.
        since_ms: only what was written from then on.
        progress: told of offsets read, and of how many there are.

    Raises:
        ModerationError: a topic does not exist or gives nothing.
    """
    topics = settings.topics
    with kafka_faults(settings.kafka), TopicReader(settings.kafka) as reader:
        ranges = reader.ranges([topics.verdicts, topics.dead_letters], since_ms)
        found = []
        for record in reader.read(ranges, OffsetsRead(progress, ranges)):
            outcome = _verdict(record) if record.topic == topics.verdicts else _dead_letter(record)
            if outcome is not None and wanted in (outcome.source, *_ids(record)):
                found.append(outcome)
    return found


def _verdict(record: SourceRecord) -> EventOutcome | None:
    try:
        verdict = Verdict.model_validate_json(record.value or b"")
    except ValueError:  # not ours
        return None
    source = f"{verdict.source.topic}-{verdict.source.partition}-{verdict.source.offset}"
    return EventOutcome(record, source, f"{verdict.severity}, {verdict.action}", False, _context(record))


def _dead_letter(record: SourceRecord) -> EventOutcome | None:
    try:
        letter = read_dead_letter(record)
    except ValueError:
        return None
    source = f"{letter.source.topic}-{letter.source.partition}-{letter.source.offset}"
    return EventOutcome(record, source, letter.reason, True, _context(record))


def _context(record: SourceRecord) -> SpanContext | None:
    return read_traceparent(record.header("traceparent") or b"", record.header("tracestate") or b"")


def _ids(record: SourceRecord) -> Iterator[str]:
    """All that may be called the id of this event: a dead letter's value may be anything."""
    yield (record.header("ce_id") or b"").decode("utf-8", "replace")
    try:
        event = json.loads(record.value or b"")
    except (ValueError, RecursionError):
        return
    if not isinstance(event, dict):
        return
    data = event.get("data")
    for fields in (event, data if isinstance(data, dict) else {}):
        yield from (str(fields[name]) for name in ("event_id", "verdict_id", "id") if name in fields)
