"""Runs as `weir audit run` leaves them, with rows that a test names: manifest, markers, Parquet."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from schemas.verdict import Provenance
from workers.audit.manifest import BlockMarker, Cost, Counts, FileInput, Manifest, PolicyUsed, total_counts
from workers.audit.rows.tables import DEAD_LETTER_SCHEMA, VERDICT_SCHEMA, date_of, table_of
from workers.audit.run_folder import DEAD_LETTERS, VERDICTS, RunFolder

NOON = datetime(2026, 1, 31, 12, 30, tzinfo=UTC)
BEGUN = "2026-02-01T08:00:00+00:00"
Row = dict[str, Any]


def silent(_done: int, _total: int | None) -> None:
    """Progress that nobody looks at."""


def provenance(revision: str = "r1", model: str = "guard") -> Provenance:
    return Provenance(
        model=model, revision=revision, prompt_sha256="5e1f", engine="one_pass", dtype="float32", parser="1"
    )


def scores(safe: float, controversial: float, unsafe: float) -> list[tuple[str, float]]:
    return [("Safe", safe), ("Controversial", controversial), ("Unsafe", unsafe)]


def verdict(event_id: str, severity: str = "Safe", *categories: str, **changed: Any) -> Row:
    """A row of a verdict; the text is the event's own unless `text` says otherwise."""
    text = changed.pop("text", None) or f"text of {event_id}"
    return {
        "verdict_id": hashlib.sha256(event_id.encode()).hexdigest()[:32],
        "event_id": event_id,
        "conversation_id": None,
        "tenant": "games",
        "task": "prompt",
        "occurred_at": NOON,
        "language": "en",
        "severity": severity,
        "categories": list(categories),
        "refusal": None,
        "action": {"Safe": "allow", "Controversial": "review", "Unsafe": "block"}[severity],
        "treated_as": severity,
        "policy_name": "default",
        "policy_version": "1",
        "policy_sha256": "b187",
        "source_topic": "chat.parquet",
        "source_partition": 0,
        "source_offset": 0,
        **provenance().model_dump(),
        "severity_scores": None,
        "category_scores": None,
        "refusal_score": None,
        "prompt_tokens": 100,
        "output_tokens": 10,
        "windows": 1,
        "length_policy": "whole",
        "characters_dropped": 0,
        "text_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "conversation_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "text": text,
        **changed,
    }


def dead_letter(event_id: str | None, reason: str, **changed: Any) -> Row:
    return {
        "event_id": event_id,
        "tenant": None,
        "occurred_at": None,
        "source_topic": "chat.parquet",
        "source_partition": 0,
        "source_offset": 7,
        "reason": reason,
        "detail": f"detail of {reason}",
        "model": None,
        "revision": None,
        "raw_output": None,
        "text_sha256": None,
        **changed,
    }


def write_block(folder: RunFolder, block: int, verdicts: Sequence[Row], dead_letters: Sequence[Row]) -> Counts:
    """One block's files and its marker."""
    parts: dict[tuple[str, str], list[Row]] = {}
    for row in verdicts:
        parts.setdefault((date_of(row["occurred_at"]), row["severity"]), []).append(row)
    for (date, severity), rows in parts.items():
        folder.write_table(f"{VERDICTS}/date={date}/verdict={severity}", block, table_of(rows, VERDICT_SCHEMA))
    if dead_letters:
        folder.write_table(DEAD_LETTERS, block, table_of(dead_letters, DEAD_LETTER_SCHEMA))
    counts = Counts(
        rows=len(verdicts) + len(dead_letters),
        events=len(verdicts) + len(dead_letters),
        verdicts=len(verdicts),
        dead_letters=len(dead_letters),
        judged=len({row["text_sha256"] for row in verdicts}),
        deduplicated=len(verdicts) - len({row["text_sha256"] for row in verdicts}),
        by_severity=Counter(row["severity"] for row in verdicts),
        by_reason=Counter(row["reason"] for row in dead_letters),
    )
    cost = Cost(gpu_seconds=1.5, prompt_tokens=100 * len(verdicts), output_tokens=10 * len(verdicts), wall_seconds=2)
    folder.write_marker(BlockMarker(block=block, finished_at=BEGUN, provenance=provenance(), counts=counts, cost=cost))
    return counts


def write_run(
    path: Path,
    verdicts: Iterable[Row],
    dead_letters: Sequence[Row] = (),
    *,
    block_rows: int = 5,
    revision: str = "r1",
    **changed: Any,
) -> str:
    """A finished run; its verdicts are spread over blocks, the dead letters lie in the first."""
    folder = RunFolder(str(path))
    rows = list(verdicts)
    chunks = [rows[start : start + block_rows] for start in range(0, len(rows), block_rows)] or [[]]
    counts = [write_block(folder, block, chunk, [] if block else dead_letters) for block, chunk in enumerate(chunks)]
    manifest = Manifest(
        run_id=path.name,
        state="finished",
        started_at=BEGUN,
        attempts=(BEGUN,),
        finished_at="2026-02-01T09:00:00+00:00",
        inputs=(FileInput(uri="file:///chat.parquet", name="chat.parquet", bytes=2048, sha256="ab", rows=len(rows)),),
        mapping={"text": "body"},
        sample=None,
        provenance=provenance(revision),
        policy=PolicyUsed(name="default", version="1", sha256="b187", length="window"),
        versions={"weir": "0.1.0"},
        block_rows=block_rows,
        keep_text=True,
        blocks=len(chunks),
        counts=total_counts(counts),
        cost=Cost(gpu_seconds=1.5 * len(chunks), wall_seconds=90),
    )
    folder.write_manifest(manifest.model_copy(update=changed))
    return str(path)
