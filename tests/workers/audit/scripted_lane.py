"""A guard whose answers follow from the text, for actors of an audit: picklable, and it leaves traces to look at."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from pipelines.backoff import Backoff
from pipelines.fitting.length_policy import LengthPolicy
from pipelines.guard import GuardAnswer, GuardReply, GuardRequest
from pipelines.isolation import PROBE
from pipelines.judging import Judge
from pipelines.moderation import Moderation
from pipelines.policy import load_policy
from schemas.record import SourceRecord
from schemas.verdict import Provenance
from workers.audit.block_judge import Lane
from workers.audit.block_work import ReadTopic
from workers.audit.manifest import PolicyUsed, SampleTaken
from workers.audit.rows.blocks import HowAsked, Plan, Survey, plan_files, survey
from workers.audit.rows.columns import Columns
from workers.audit.rows.event_rows import EventRows
from workers.audit.rows.tables import DEAD_LETTER_SCHEMA, VERDICT_SCHEMA
from workers.audit.run import Asked
from workers.audit.run_folder import DEAD_LETTERS, VERDICTS, RunFolder
from workers.files.csv_dialect import AS_FOUND, DialectAsked

MAX_BYTES = 100_000
WORDS = ("hey", "team", "who", "is", "up", "for", "the", "raid", "tonight", "patch", "broke", "my", "aim")


def moderation() -> Moderation:
    """As live, with the built-in policy."""
    return Moderation(load_policy(None), length(), max_event_bytes=MAX_BYTES, group="audit")


def length() -> LengthPolicy:
    """Windows from 64 tokens on."""
    return LengthPolicy("window", 64, 8, 32)


def used_policy() -> PolicyUsed:
    """What the manifest says of both."""
    policy = load_policy(None)
    return PolicyUsed(name=policy.name, version=policy.version, sha256=policy.sha256, length=length().signature)


@dataclass(frozen=True)
class ScriptedLane:
    """`kill` is Unsafe, `idiot` Controversial, `gibberish` off the grammar; else Safe.

    Each actor notes its process in `traces`/pids, and each call in `traces`/calls: the number of its prompts.
    """

    traces: str
    revision: str = "1"
    seconds_a_call: float = 0.0
    scores: bool = False

    def __call__(self) -> tuple[Lane, ReadTopic | None]:
        guard = ScriptedGuard(self)
        _append(Path(self.traces) / "pids", f"{os.getpid()}\n")
        judge = Judge(guard, max_attempts=2, max_crashes=2, new_backoff=lambda: Backoff(0.01, 0.1))
        return Lane(moderation(), judge, 64, 1_000_000, 1, 0.5), None


class ScriptedGuard:
    """The guard of a `ScriptedLane`."""

    def __init__(self, lane: ScriptedLane) -> None:
        self._lane = lane
        self._provenance = Provenance(
            model="scripted", revision=lane.revision, prompt_sha256="p", engine="e", dtype="d", parser="1"
        )

    async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply:
        if list(requests) != [PROBE]:
            _append(Path(self._lane.traces) / "calls", f"{len(requests)}\n")
            time.sleep(self._lane.seconds_a_call)  # a model takes its time; nothing waits for it here
        return GuardReply([self._answer(request) for request in requests], self._provenance)

    def _answer(self, request: GuardRequest) -> GuardAnswer:
        text = request.conversation[-1]["content"]
        severity = "Unsafe" if "kill" in text else "Controversial" if "idiot" in text else "Safe"
        said = f"Safety: {severity}\nCategories: {'None' if severity == 'Safe' else 'Violent'}"
        if request.conversation[-1]["role"] == "assistant":
            said += "\nRefusal: No"
        if "gibberish" in text:
            said = "who knows"
        scores = None
        if self._lane.scores:
            share = len(text) % 100 / 100
            scores = {
                "safety": {"Safe": share, "Controversial": 0.0, "Unsafe": 1 - share},
                "category": {"Violent": 1 - share, "None": share},
            }
        return GuardAnswer(said, None, scores, 300 + len(text), 8, True, {}, 1.0, 2.0)


def _append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(line)


def prompts_asked(traces: Path) -> int:
    """Prompts of all calls so far."""
    path = traces / "calls"
    return sum(map(int, path.read_text(encoding="utf-8").split())) if path.exists() else 0


def chat(rows: int, start: int = 0) -> list[dict[str, Any]]:
    """Rows of a chat log: verdicts of all severities, two kinds of dead letters, texts that come again."""
    found = []
    for number in range(start, start + rows):
        text = f"{WORDS[number % len(WORDS)]} {number}"
        text += " kill" if number % 7 == 0 else " idiot" if number % 11 == 0 else ""
        text = "again" if number % 10 == 3 else "gibberish" if number % 50 == 6 else " " if number % 50 == 8 else text
        time_s = 1_767_225_600 + number * 600  # 2026-01-01T00:00:00Z
        found.append({"key": f"e{number}", "who": f"tenant-{number % 3}", "body": text, "at": time_s})
    return found


MAPPING = {"id": "key", "tenant": "who", "text": "body", "time": "at"}


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A Parquet file in row groups that no block fits into."""
    parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=37)
    return path


def planned(file: Path, block_rows: int, mapping: dict[str, str] = MAPPING) -> tuple[Plan, Columns]:
    """The blocks and columns of one file."""
    columns = resolved(mapping, file)
    return plan_of(file, block_rows, EventRows(columns).lookback), columns


def surveyed(*paths: Path | str, block_rows: int = 10, dialect: DialectAsked = AS_FOUND) -> Survey:
    """What is found of some paths."""
    return survey([str(path) for path in paths], block_rows, lambda _done, _all: None, HowAsked(dialect))


def resolved(mapping: dict[str, str], *paths: Path | str, stratum: str | None = None) -> Columns:
    """The columns of some paths."""
    return Columns.resolve(mapping, surveyed(*paths).files, stratum)


def plan_of(path: Path | str, block_rows: int, lookback: int = 0) -> Plan:
    """The blocks of one path."""
    return plan_files(surveyed(path, block_rows=block_rows), block_rows, lookback)


def asked(
    run: Path | str,
    file: Path,
    block_rows: int = 20,
    *,
    sample: SampleTaken | None = None,
    since_run: str | None = None,
    keep_text: bool = False,
    rate: float | None = None,
) -> Asked:
    """A run over one file."""
    plan, columns = planned(file, block_rows)
    return Asked(
        run=str(run),
        plan=plan,
        columns=columns,
        sample=sample,
        since_run=since_run,
        policy=used_policy(),
        block_rows=block_rows,
        keep_text=keep_text,
        cache_size=1_000,
        rate=rate,
        max_event_bytes=MAX_BYTES,
    )


def rows_of(run: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All verdicts and all dead letters of a run, in the order of its files."""
    folder = RunFolder(str(run))

    def read(name: str, schema: Any) -> Iterator[dict[str, Any]]:
        for table in folder.tables(name, schema.names):
            yield from table.to_pylist()

    return list(read(VERDICTS, VERDICT_SCHEMA)), list(read(DEAD_LETTERS, DEAD_LETTER_SCHEMA))


def files_of(run: Path) -> set[str]:
    """The names of all files of a run."""
    return {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}


def record(value: bytes, number: int = 0) -> SourceRecord:
    """A record of a topic."""
    return SourceRecord("chat.events", 0, number, 0, None, value, ())
