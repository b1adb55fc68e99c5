"""Rows of verdicts are verdicts without their timing, and the files say which schema they have."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from pipelines.guard import Judged
from pipelines.moderation import Admitted
from schemas.verdict_writer import VerdictText
from tests.workers.audit.scripted_lane import ScriptedGuard, ScriptedLane, moderation, record
from workers.audit.rows.tables import VERDICT_SCHEMA, RowFacts, date_of, folders_of, table_of, verdict_of, verdict_row
from workers.audit.run_folder import RunFolder

FACTS = RowFacts("e", "acme", datetime(2026, 1, 31, 23, 59, 59, 5, tzinfo=UTC), "en", "t" * 64, "c" * 64, "words")


@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize(
    "event",
    [
        b'{"event_id": "a", "text": "kill"}',
        b'{"event_id": "b", "tenant": "acme", "conversation_id": "c", "messages": [{"role": "user", "content": "hi"},'
        b' {"role": "assistant", "content": "idiot"}]}',
        b'{"event_id": "d", "text": "' + b"a long text " * 60 + b'"}',
    ],
    ids=["prompt", "response", "windows"],
)
def test_a_row_gives_back_the_verdict_of_which_it_was_made(tmp_path: Path, event: bytes, scores: bool) -> None:
    live, guard = moderation(), ScriptedGuard(ScriptedLane(str(tmp_path), scores=scores))
    admitted = live.admit(record(event))
    assert isinstance(admitted, Admitted)
    reply = asyncio.run(guard.judge(admitted.requests))
    outcome = live.decide(admitted, [Judged(answer, reply.provenance, 1) for answer in reply.answers]).outcome
    assert isinstance(outcome, VerdictText)
    table = table_of([verdict_row(outcome, FACTS)], VERDICT_SCHEMA)
    row = table.to_pylist()[0]
    timing = outcome.read().timing

    assert verdict_of(row).model_copy(update={"timing": timing}).to_bytes() == outcome.value
    assert row["occurred_at"] == FACTS.occurred_at
    assert (row["language"], row["text_sha256"], row["text"]) == ("en", "t" * 64, "words")


def test_files_say_their_schema_and_appear_as_a_whole(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path / "run"))
    written = folder.write_table("verdicts/date=2026-01-31/verdict=Safe", 12, table_of([], VERDICT_SCHEMA))
    name = written.name
    found = parquet.read_schema(tmp_path / "run" / name)

    assert name == "verdicts/date=2026-01-31/verdict=Safe/block-000012.parquet"
    assert found.metadata[b"weir.schema_version"] == b"1.1"
    assert found.field("occurred_at").type == pa.timestamp("us", tz="UTC")
    assert folder.sizes() == {name: written.bytes}
    folder.remove_unfinished({12})
    assert folder.sizes() == {name: written.bytes}
    assert not (tmp_path / "run" / "_temporary").exists()
    folder.remove_unfinished(set())
    assert folder.sizes() == {}


def test_the_date_of_a_row_is_its_day_in_utc() -> None:
    assert date_of(FACTS.occurred_at) == "2026-01-31"
    assert date_of(datetime.fromisoformat("2026-02-01T00:30:00+02:00")) == "2026-01-31"
    assert date_of(None) == "unknown"


@pytest.mark.parametrize(
    ("days", "folders"),
    [(31, "2020-01-01 2020-01-31"), (400, "2020-01 2021-02"), (8_000, "2020 2041"), (40_000, "20xx 21xx")],
)
def test_thousands_of_dates_do_not_make_thousands_of_folders(days: int, folders: str) -> None:
    first = datetime(2020, 1, 1, tzinfo=UTC)
    found = folders_of({"unknown", *(date_of(first + timedelta(days=number)) for number in range(days))})
    names = sorted({*found.values()} - {"unknown"})

    assert f"{names[0]} {names[-1]}" == folders
    assert len(names) <= 31
    assert found["unknown"] == "unknown"
