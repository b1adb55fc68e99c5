"""One block of a topic, without Ray and without Kafka: times that its events say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from schemas.record import SourceRecord
from tests.workers.audit.scripted_lane import MAX_BYTES, ScriptedLane, rows_of, used_policy
from workers.audit.block_work import BlockWork, RunWork
from workers.audit.manifest import BlockMarker
from workers.audit.rows.blocks import Block

RECEIVED = datetime(2026, 1, 2, tzinfo=UTC)
TIMES = ["2026-01-31T12:00:00+01:00", "2026-01-31T12:00:00", None, "0001-01-01T00:00:00+14:00"]


def read_topic(topic: str, partition: int, start: int, end: int) -> Iterator[SourceRecord]:
    for offset in range(start, end):
        event = {"event_id": f"e{offset}", "text": f"hello {offset}", "created_at": TIMES[offset]}
        received = int(RECEIVED.timestamp() * 1000)
        yield SourceRecord(topic, partition, offset, received, None, json.dumps(event).encode(), ())


def judged(run: Path) -> BlockMarker:
    """All of the topic as one block."""
    lane, _ = ScriptedLane(str(run.parent))()
    work = RunWork(str(run), "1", None, None, used_policy(), None, 10, None, False, MAX_BYTES)
    return BlockWork(work, lane, read_topic, None).do(Block(0, "", "chat.events", 0, 0, len(TIMES)))


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
