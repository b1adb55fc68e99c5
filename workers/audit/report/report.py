"""Builds the report of a run: two passes over its verdicts, one over its dead letters, and a join if it is compared.

Memory is bounded by the limits of the modules beside this one, not by the size of the run.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, NamedTuple

import pyarrow.compute as pc

from pipelines.evaluation.agreement import wilson_interval
from schemas.reasons import STAGE_OF, Reason
from schemas.verdict import Severity
from workers.audit.manifest import FileInput, TopicInput, total_cost, total_counts
from workers.audit.report.comparison import compare_runs
from workers.audit.report.conversations import CONVERSATION, ConversationCounts
from workers.audit.report.counts import COUNTED, VerdictCounts, in_order, scores_of
from workers.audit.report.examples import EXAMPLE_COLUMNS, TEXTS, ExampleChoice, source_of, texts_of
from workers.audit.report.files import RunFiles
from workers.audit.report.model import (
    AuditComparison,
    AuditReport,
    DeadLetterPlace,
    DeadLetterReason,
    RunFacts,
    Volumes,
)
from workers.audit.report.notes import notes_of, warnings_of
from workers.audit.report.spool import SPOOLED
from workers.audit.report.text_names import with_text_names
from workers.audit.report.times import times_of

_LETTER_COLUMNS = ["event_id", "source_topic", "source_partition", "source_offset", "reason", "detail"]
_FIRST_LETTERS = 3


class Choices(NamedTuple):
    """What is listed: most tenants, languages, conversations and flips; most examples of each list; text or none."""

    listed: int = 20
    examples: int = 25
    include_text: bool = False


def build_report(
    run: RunFiles, against: RunFiles | None, choices: Choices, progress: Callable[[int, int | None], None]
) -> AuditReport:
    """All figures of a run.

    Args:
        run: the run.
        against: another run of the same events, to compare with.
        choices: what is listed.
        progress: takes rows read, and how many there are to read.

    Raises:
        ConfigurationError: a file of a run cannot be read.
    """
    with_text = choices.include_text and run.manifest.keep_text
    reading = _Reading(_rows_to_read(run, against, with_text=with_text), progress)
    facts = _facts(run)
    conversations = ConversationCounts()
    for batch in run.verdicts(CONVERSATION, reading.advance, severity=Severity.UNSAFE.value):
        conversations.add_unsafe(batch)
    counts, examples = VerdictCounts(), ExampleChoice(choices.examples)
    text = ["text"] if with_text else []
    columns = dict.fromkeys([*COUNTED, *CONVERSATION, *EXAMPLE_COLUMNS, *text])
    for batch in run.verdicts(list(columns), reading.advance):
        scores = scores_of(batch)
        counts.add(batch, scores)
        examples.add(batch, scores)
        conversations.add(batch)
    letters, dead_letters = _dead_letters(run, reading)
    unsafe = counts.severities[Severity.UNSAFE.value]
    low, high = wilson_interval(unsafe, counts.verdicts)
    report = AuditReport(
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        weir_version=version("weir-moderation"),
        run=facts,
        volumes=Volumes(
            verdicts=counts.verdicts,
            dead_letters=dead_letters,
            prompt_tokens=counts.prompt_tokens,
            output_tokens=counts.output_tokens,
            windowed=counts.handling["windowed"],
            truncated=counts.handling["truncated_middle"],
        ),
        severities=in_order(counts.severities),
        categories=dict(sorted(counts.categories.items(), key=lambda item: (-item[1], item[0]))),
        actions=dict(sorted(counts.actions.items())),
        tasks=dict(sorted(counts.tasks.items())),
        unsafe_share=unsafe / counts.verdicts if counts.verdicts else 0.0,
        unsafe_low=low,
        unsafe_high=high,
        times=times_of(counts.hours),
        tenants=counts.tenants.breakdown(choices.listed),
        languages=counts.languages.breakdown(choices.listed),
        conversations=conversations.breakdown(choices.listed),
        dead_letters=letters,
        histograms=counts.histograms(),
        examples=examples.lists(),
        with_text=with_text,
        comparison=_comparison(run, against, choices, reading, with_text=with_text) if against else None,
        warnings=[],
        notes=[],
    )
    return with_text_names(report).model_copy(
        update={
            "warnings": warnings_of(report),
            "notes": notes_of(report, choices.include_text, hours_cut=counts.hours.cut),
        }
    )


class _Reading:
    def __init__(self, total: int, progress: Callable[[int, int | None], None]) -> None:
        self._read, self._total, self._progress = 0, total, progress

    def advance(self, rows: int) -> None:
        self._read += rows
        self._progress(self._read, self._total)


def _rows_to_read(run: RunFiles, against: RunFiles | None, *, with_text: bool) -> int:
    """How many rows all passes read together."""
    counts = total_counts(marker.counts for marker in run.markers)
    rows = counts.verdicts + counts.dead_letters + counts.by_severity.get(Severity.UNSAFE.value, 0)
    return rows + (_verdicts(run) * (1 + with_text) + _verdicts(against) if against else 0)


def _verdicts(run: RunFiles) -> int:
    return sum(marker.counts.verdicts for marker in run.markers)


def _facts(run: RunFiles) -> RunFacts:
    """What manifest and markers say; while a run goes on, the markers are the newer."""
    manifest = run.manifest
    counts = total_counts(marker.counts for marker in run.markers)
    cost = total_cost(marker.cost for marker in run.markers)
    provenance = manifest.provenance or (run.markers[0].provenance if run.markers else None)
    finished = manifest.state == "finished"
    return RunFacts(
        run_id=manifest.run_id,
        data=_data(manifest.inputs),
        finished=finished,
        started_at=manifest.started_at,
        finished_at=manifest.finished_at,
        blocks_done=len(run.markers),
        blocks=manifest.blocks,
        inputs=len(manifest.inputs),
        input_bytes=sum(item.bytes for item in manifest.inputs if isinstance(item, FileInput)),
        malformed=sum(item.malformed for item in manifest.inputs if isinstance(item, FileInput)),
        left_out=dict(sorted(Counter(item.why for item in manifest.left_out).items())),
        provenance=provenance.model_dump() if provenance else {},
        policy=manifest.policy.model_dump(),
        versions=manifest.versions,
        sample=manifest.sample.asked if manifest.sample else None,
        since_run=manifest.since_run,
        rows=counts.rows,
        events=counts.events,
        turns=manifest.turns,
        turns_not_judged=counts.turns_not_judged,
        verdicts=counts.verdicts,
        dead_letters=counts.dead_letters,
        skipped=counts.skipped,
        judged=counts.judged,
        deduplicated=counts.deduplicated,
        gpu_seconds=cost.gpu_seconds,
        wall_seconds=manifest.cost.wall_seconds if finished else None,
    )


def _data(inputs: Sequence[FileInput | TopicInput]) -> str:
    """The first name, and how many more there are."""
    names = list(dict.fromkeys(item.name if isinstance(item, FileInput) else item.topic for item in inputs))
    more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
    return f"{names[0]}{more}" if names else "no input"


def _dead_letters(run: RunFiles, reading: _Reading) -> tuple[list[DeadLetterReason], int]:
    """Dead letters by reason, the first few of each; and how many there are."""
    rows = Counter[str]()
    first: dict[str, list[dict[str, Any]]] = {}
    for batch in run.dead_letters(_LETTER_COLUMNS, reading.advance):
        for entry in pc.value_counts(batch["reason"]).to_pylist():
            reason = entry["values"]
            rows[reason] += entry["counts"]
            some = first.setdefault(reason, [])
            if missing := _FIRST_LETTERS - len(some):
                some += batch.filter(pc.equal(batch["reason"], reason)).slice(0, missing).to_pylist()
    total = rows.total()
    known = set(Reason)
    letters = [
        DeadLetterReason(
            reason=reason,
            stage=STAGE_OF[Reason(reason)].value if reason in known else None,
            rows=count,
            share=count / total,
            first=[
                DeadLetterPlace(event_id=row["event_id"], source=source_of(row), detail=row["detail"])
                for row in first[reason]
            ],
        )
        for reason, count in sorted(rows.items(), key=lambda item: (-item[1], item[0]))
    ]
    return letters, total


def _comparison(
    run: RunFiles, against: RunFiles, choices: Choices, reading: _Reading, *, with_text: bool
) -> AuditComparison:
    before, after = (part.verdicts(SPOOLED, reading.advance) for part in (against, run))
    dead_letters = sum(marker.counts.dead_letters for marker in against.markers)
    rows = _verdicts(run) + _verdicts(against)
    compared = compare_runs(before, after, rows, _facts(against), dead_letters, choices.listed)
    if not with_text:
        return compared
    # Read again and not carried through the join, which would write every text to the disk once more.
    texts = texts_of(run.verdicts(TEXTS, reading.advance), {flip.text_name for flip in compared.flips})
    flips = [flip.model_copy(update={"text": texts.get(flip.text_name)}) for flip in compared.flips]
    return compared.model_copy(update={"flips": flips})
