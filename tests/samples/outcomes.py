"""Outcomes of a record as the worker would make and write them, for tests of what reads them back."""

from pipelines.moderation import Ruling
from schemas.dead_letter import DeadLetter, dead_letter
from schemas.errors import TerminalError
from schemas.event import Task
from schemas.reasons import Reason
from schemas.record import OutputRecord, SourceRecord
from schemas.verdict import (
    Action,
    AppliedPolicy,
    Category,
    Provenance,
    Severity,
    Source,
    Timing,
    Usage,
    Verdict,
)
from schemas.verdict_writer import verdict_id, verdict_id_base
from tests.samples.verdict import text_of
from workers.settings.sections import TopicSettings
from workers.stream.publisher import outcome_records


def verdict_of(
    record: SourceRecord, *, severity: Severity = Severity.SAFE, revision: str = "r1", guard_ms: float = 2.0
) -> Verdict:
    """The verdict of a record; the same for the same arguments, `guard_ms` aside."""
    source = Source(topic=record.topic, partition=record.partition, offset=record.offset)
    provenance = Provenance(
        model="demo", revision=revision, prompt_sha256="p1", engine="reference", dtype="float32", parser="1"
    )
    event_id = f"e{record.offset}"
    return Verdict(
        verdict_id=verdict_id(verdict_id_base(provenance, "0" * 64, "window:4096:256:32:1"), record, event_id),
        event_id=event_id,
        conversation_id=None,
        tenant="default",
        task=Task.PROMPT,
        severity=severity,
        categories=() if severity is Severity.SAFE else (Category.VIOLENT,),
        refusal=None,
        scores=None,
        action=Action.ALLOW if severity is Severity.SAFE else Action.BLOCK,
        policy=AppliedPolicy(name="default", version="1", sha256="0" * 64, treated_as=severity),
        source=source,
        provenance=provenance,
        usage=Usage(prompt_tokens=300, output_tokens=9, windows=1, length_policy="whole", characters_dropped=0),
        timing=Timing(
            received_at="2026-01-02T03:04:05.000+00:00",
            judged_at="2026-01-02T03:04:06.000+00:00",
            queue_ms=1.0,
            guard_ms=guard_ms,
        ),
    )


def letter_of(
    record: SourceRecord, reason: Reason = Reason.INVALID_JSON, detail: str = "value: not JSON"
) -> DeadLetter:
    """The dead letter of a record."""
    return dead_letter(record, TerminalError(reason, detail), group="weir")


def written(
    outcome: Verdict | DeadLetter, key: bytes | None, topics: TopicSettings, dead_letter_partitions: int = 1
) -> OutputRecord:
    """The one record that is produced for an outcome."""
    record = SourceRecord(topics.events[0], outcome.source.partition, outcome.source.offset, 0, key, None, ())
    ruled = text_of(outcome) if isinstance(outcome, Verdict) else outcome
    (record,) = outcome_records(Ruling(ruled), topics, record, [], lambda _: dead_letter_partitions)
    return record
