"""One block of a topic, without Ray and without Kafka: times that its events say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from schemas.record import SourceRecord
from tests.workers.audit.scripted_lane import (
    MAX_BYTES,
    ScriptedLane,
    plan_of,
    rows_of,
    surveyed,
    used_policy,
)
from workers.audit.actors import AuditActor
from workers.audit.block_work import BlockWork, RunWork
from workers.audit.manifest import BlockMarker
from workers.audit.rows.blocks import Block
from workers.audit.rows.columns import Columns

RECEIVED = datetime(2026, 1, 2, tzinfo=UTC)
TIMES = ["2026-01-31T12:00:00+01:00", "2026-01-31T12:00:00", None, "0001-01-01T00:00:00+14:00"]


def read_topic(topic: str, partition: int, start: int, end: int) -> Iterator[SourceRecord]:
    for offset in range(start, end):
        event = {"event_id": f"e{offset}", "text": f"hello {offset}", "created_at": TIMES[offset]}
        received = int(RECEIVED.timestamp() * 1000)
        yield SourceRecord(topic, partition, offset, received, None, json.dumps(event).encode(), ())


def work_of(run: Path) -> RunWork:
    return RunWork(str(run), "1", None, None, used_policy(), None, 10, None, False, MAX_BYTES)


def judged(run: Path) -> BlockMarker:
    """All of the topic as one block."""
    lane, _ = ScriptedLane(str(run.parent))()
    with BlockWork(work_of(run), lane, read_topic, None) as worker:
        return worker.do(Block(0, "", "chat.events", 0, 0, len(TIMES)))


def test_an_event_of_a_topic_has_its_own_time_in_utc_or_its_records(tmp_path: Path) -> None:
    judged(tmp_path / "run")
    verdicts, letters = rows_of(tmp_path / "run")
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)

    assert letters == []
    assert {row["event_id"]: row["occurred_at"] for row in verdicts} == {
        "e0": noon.replace(hour=11),
        "e1": noon,
        "e2": RECEIVED,
        "e3": RECEIVED,  # UTC has no name for its own
    }
    assert {path.name for path in (tmp_path / "run" / "verdicts").iterdir()} == {
        "date=2026-01-31",
        "date=2026-01-02",
    }


def test_halves_of_characters_in_every_field_of_a_row_cost_no_block(tmp_path: Path) -> None:
    """No file can hold them: one such row would stop its block at each attempt."""
    half = "x\ud83d"
    fields = ("event_id", "conversation_id", "tenant", "created_at", "language", "text")
    rows = [dict.fromkeys(fields, half), {"event_id": half + "2", "text": [half], "language": [half], "tenant": [half]}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({**row, half: half}) + "\n" for row in rows))
    surveyed_files = surveyed(tmp_path / "a.jsonl").files
    columns = Columns.resolve({}, surveyed_files, "language")
    work = replace(work_of(tmp_path / "run"), columns=columns, keep_text=True)
    lane, _ = ScriptedLane(str(tmp_path))()
    with BlockWork(work, lane, None, None) as worker:
        worker.do(plan_of(tmp_path / "a.jsonl", 10, 0).blocks[0])
    verdicts, letters = rows_of(tmp_path / "run")

    (verdict,), (letter,) = verdicts, letters
    assert [verdict[name] for name in ("event_id", "conversation_id", "tenant", "language", "text")] == ["x\ufffd"] * 5
    assert (letter["event_id"], letter["reason"], letter["tenant"]) == ("x\ufffd2", "wrong_type", "['x\\ud83d']")


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> list[asyncio.AbstractEventLoop]:
    """Those that were made in the test."""
    made: list[asyncio.AbstractEventLoop] = []
    new = asyncio.new_event_loop

    def noted() -> asyncio.AbstractEventLoop:
        made.append(new())
        return made[-1]

    monkeypatch.setattr(asyncio.events, "new_event_loop", noted)
    return made


def test_an_actor_that_is_given_up_ends_its_loop(tmp_path: Path, loops: list[asyncio.AbstractEventLoop]) -> None:
    actor = AuditActor(work_of(tmp_path / "run"), ScriptedLane(str(tmp_path)), None)
    assert [loop.is_closed() for loop in loops] == [False]
    actor.__del__()

    assert [loop.is_closed() for loop in loops] == [True]


def test_a_model_that_is_refused_leaves_no_loop(tmp_path: Path, loops: list[asyncio.AbstractEventLoop]) -> None:
    begun = judged(tmp_path / "run").provenance
    work = replace(work_of(tmp_path / "run"), provenance=begun)
    lane, _ = ScriptedLane(str(tmp_path), revision="2")()
    with pytest.raises(ConfigurationError, match=r"provenance\.revision"):
        BlockWork(work, lane, read_topic, None)

    assert [loop.is_closed() for loop in loops] == [True, True]
