"""Does one block: reads its rows, selects, judges, writes its files, and last of all its marker.

Runs in an actor. Knows nothing of Ray.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Self

from pydantic_core import to_json

from pipelines.guard import Conversation
from pipelines.moderation import Admitted
from schemas.dead_letter import DeadLetter, dead_letter
from schemas.errors import EventError
from schemas.event import decode_event
from schemas.record import SourceRecord
from schemas.verdict import Provenance
from schemas.verdict_writer import VerdictText
from workers.audit.answer_cache import AnswerCache
from workers.audit.block_judge import BlockJudge, Lane, Spent
from workers.audit.manifest import BlockFile, BlockMarker, Cost, Counts, PolicyUsed, SampleTaken
from workers.audit.pace import Pace
from workers.audit.rows.block_rows import BlockRows
from workers.audit.rows.blocks import Block
from workers.audit.rows.columns import Columns
from workers.audit.rows.event_rows import AuditRecord, EventRows, in_utc
from workers.audit.rows.selection import AlreadyJudged, JudgedRow, Keys, is_sampled
from workers.audit.rows.tables import (
    DEAD_LETTER_SCHEMA,
    VERDICT_SCHEMA,
    RowFacts,
    date_of,
    dead_letter_row,
    folders_of,
    table_of,
    verdict_row,
)
from workers.audit.run_folder import DEAD_LETTERS, VERDICTS, RunFolder

ReadTopic = Callable[[str, int, int, int], Iterable[SourceRecord]]


@dataclass(frozen=True)
class RunWork:
    """What all actors of a run have to know. `rate` is of one actor, in rows a second.

    `attempt` names this attempt at the run. Actors ignore the markers of other attempts: an actor whose driver was
    killed may live on for a while, and what it wrote may have been cleared away.
    """

    run: str
    attempt: str
    columns: Columns | None
    sample: SampleTaken | None
    policy: PolicyUsed
    provenance: Provenance | None
    cache_size: int
    rate: float | None
    keep_text: bool
    max_event_bytes: int


class BlockWork:
    """Does blocks, one at a time. To be closed, as by `with`.

    Args:
        work: the run's.
        lane: what judges.
        read_topic: the records of a topic's partition between two offsets; not needed for files.
        judged: keys of the run that is continued, see `row_selection`.

    Raises:
        ConfigurationError: the model is not the one that the run was begun with.
    """

    def __init__(self, work: RunWork, lane: Lane, read_topic: ReadTopic | None, judged: Keys | None) -> None:
        self._work = work
        self._folder = RunFolder(work.run)
        self._runner = asyncio.Runner()  # one loop for all blocks, because what calls a guard may belong to a loop
        self._judge = BlockJudge(lane, AnswerCache(work.cache_size), Pace(work.rate))
        self._gpus = lane.gpus
        self._read_topic = read_topic
        if work.columns is not None:
            self._events = EventRows(work.columns)
            self._rows = BlockRows(work.columns.wanted, self._events.lookback)
        try:
            self._provenance = self._runner.run(self._judge.begin(work.provenance))
        except BaseException:
            self.close()
            raise
        self._judged = None if judged is None else AlreadyJudged(judged, self._provenance, work.policy)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End its loop."""
        self._runner.close()

    def do(self, block: Block) -> BlockMarker:
        """Do a block, unless this attempt has done it, as when its actor died right after.

        Raises:
            ConfigurationError: the model has changed while the run went on.
            OSError, ValueError: a file cannot be read any more, or written.
        """
        if (done := self._folder.marker_of(block.number, self._work.attempt)) is not None:
            return done
        started = time.perf_counter()
        counts: Counter[str] = Counter()
        pending: list[tuple[AuditRecord, Admitted]] = []
        verdicts: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        letters: list[tuple[RowFacts, DeadLetter]] = []
        for item in self._records(block):
            counts["events"] += 1
            counts["turns_not_judged"] += item.turns_left
            if item.row_id is not None and not self._is_sampled(item, item.row_id):
                counts["skipped"] += 1
                continue
            admitted = self._admit(item)
            if item.row_id is None and not self._is_sampled(item, _name_of(admitted)):
                counts["skipped"] += 1
            elif isinstance(admitted, DeadLetter):
                letters.append((_refused(item), admitted))
            elif self._judged is not None and self._key(admitted) in self._judged:
                counts["skipped"] += 1
            else:
                pending.append((item, admitted))
        counts["rows"] = counts["events"] if self._work.columns is None else block.rows
        outcomes, spent = self._runner.run(
            self._judge.judge([admitted for _, admitted in pending], counts["events"] - counts["skipped"])
        )
        said = _Said()
        for (item, admitted), outcome in zip(pending, outcomes, strict=True):
            facts = self._facts(item, admitted)
            if isinstance(outcome, DeadLetter):
                letters.append((facts, outcome))
                continue
            said.verdict(outcome)
            verdicts[date_of(facts.occurred_at), outcome.severity.value].append(verdict_row(outcome, facts))
        files = self._write(block, verdicts, letters, said)
        seconds = time.perf_counter() - started
        marker = BlockMarker(
            block=block.number,
            attempt=self._work.attempt,
            files=tuple(files),
            finished_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            provenance=self._provenance,
            counts=said.counts(counts, spent, len(letters)),
            cost=Cost(
                gpu_seconds=spent.guard_seconds * self._gpus,
                prompt_tokens=spent.prompt_tokens,
                output_tokens=spent.output_tokens,
                wall_seconds=seconds,
            ),
        )
        self._folder.write_marker(marker)
        return marker

    def _records(self, block: Block) -> Iterator[AuditRecord]:
        if self._work.columns is not None:
            rows, before = self._rows.read(block)
            yield from self._events.records(block, rows, before)
            return
        assert self._read_topic is not None
        for record in self._read_topic(block.name, block.partition, block.start, block.start + block.rows):
            yield AuditRecord(record, None, None, _time_of(record), None)

    def _admit(self, item: AuditRecord) -> Admitted | DeadLetter:
        """A record that can be judged; of a malformed row, a dead letter that names its line."""
        row = item.malformed
        if row is None:
            return self._judge.admit(item.record)
        return dead_letter(item.record, EventError(row.reason, f"line {row.line}: {row.detail}"), group="audit")

    def _is_sampled(self, item: AuditRecord, event_id: str) -> bool:
        return is_sampled(self._work.sample, event_id, item.stratum)

    def _turns(self, admitted: Admitted) -> Conversation:
        """The conversation as it was before anything was cut."""
        if admitted.length_handling == "whole":
            return admitted.requests[0].conversation
        return decode_event(admitted.record, self._work.max_event_bytes).messages

    def _key(self, admitted: Admitted) -> JudgedRow:
        return admitted.event_id, admitted.tenant, admitted.task.value, _digest_of(self._turns(admitted))

    def _facts(self, item: AuditRecord, admitted: Admitted) -> RowFacts:
        occurred_at = item.occurred_at
        if self._work.columns is None:
            # Decoded a second time, only for its time: what waits for the guard does not hold the event.
            said = decode_event(item.record, self._work.max_event_bytes).created_at
            if said is not None:
                occurred_at = in_utc(said)
        turns = self._turns(admitted)
        text = turns[-1]["content"]
        return RowFacts(
            admitted.event_id,
            admitted.tenant,
            occurred_at,
            item.language,
            _sha256(text),
            _digest_of(turns),
            text if self._work.keep_text else None,
        )

    def _write(
        self,
        block: Block,
        verdicts: dict[tuple[str, str], list[dict[str, Any]]],
        letters: Sequence[tuple[RowFacts, DeadLetter]],
        said: "_Said",
    ) -> list[BlockFile]:
        files = []
        folders = folders_of({date for date, _ in verdicts})
        merged: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        for (date, severity), rows in verdicts.items():
            merged[folders[date], severity] += rows
        for (date, severity), rows in sorted(merged.items()):
            rows.sort(key=lambda row: row["source_offset"])
            table = table_of(rows, VERDICT_SCHEMA)
            files.append(self._folder.write_table(f"{VERDICTS}/date={date}/verdict={severity}", block.number, table))
        if letters:
            rows = []
            for facts, letter in sorted(letters, key=lambda pair: pair[1].source.offset):
                said.reasons[letter.reason.value] += 1
                rows.append(dead_letter_row(letter, facts, self._provenance))
            files.append(self._folder.write_table(DEAD_LETTERS, block.number, table_of(rows, DEAD_LETTER_SCHEMA)))
        return files


class _Said:
    """The mix of a block's outcomes."""

    def __init__(self) -> None:
        self._verdicts = 0
        self._severities: Counter[str] = Counter()
        self._categories: Counter[str] = Counter()
        self._actions: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()

    def verdict(self, outcome: VerdictText) -> None:
        self._verdicts += 1
        self._severities[outcome.severity.value] += 1
        self._actions[outcome.action.value] += 1
        self._categories.update(category.value for category in outcome.kind.categories)

    def counts(self, rows: Counter[str], spent: Spent, dead_letters: int) -> Counts:
        return Counts(
            rows=rows["rows"],
            events=rows["events"],
            turns_not_judged=rows["turns_not_judged"],
            skipped=rows["skipped"],
            verdicts=self._verdicts,
            dead_letters=dead_letters,
            judged=spent.judged,
            deduplicated=spent.deduplicated,
            by_severity=dict(sorted(self._severities.items())),
            by_category=dict(sorted(self._categories.items())),
            by_action=dict(sorted(self._actions.items())),
            by_reason=dict(sorted(self.reasons.items())),
        )


def _refused(item: AuditRecord) -> RowFacts:
    """The facts of a record that is not an event; its text is not one of them."""
    return RowFacts(item.event_id, item.tenant, item.occurred_at, item.language, None, None, None)


def _name_of(outcome: Admitted | DeadLetter) -> str:
    """What a sample of a topic goes by: the event id, or topic, partition and offset where there is none."""
    if isinstance(outcome, Admitted):
        return outcome.event_id
    source = outcome.source
    return f"{source.topic}-{source.partition}-{source.offset}"


def _time_of(record: SourceRecord) -> datetime | None:
    try:
        return datetime.fromtimestamp(record.timestamp_ms / 1_000, UTC) if record.timestamp_ms >= 0 else None
    except (ValueError, OverflowError, OSError):  # its producer's word
        return None


def _digest_of(turns: Conversation) -> str:
    return _sha256(to_json([[turn["role"], turn["content"]] for turn in turns]).decode())


def _sha256(text: str) -> str:
    return sha256(text.encode()).hexdigest()
