"""What a run leaves out: rows outside its sample, rows that an earlier run has judged; and texts that it keeps."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from tests.workers.audit.scripted_lane import ScriptedLane, asked, chat, prompts_asked, rows_of, write_parquet
from workers.audit.actors import Pool
from workers.audit.manifest import Manifest
from workers.audit.rows.selection import sample_of
from workers.audit.run import AuditRun

POOL = Pool(1, 0.5, 0.0)
pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("_local_ray")]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parquet(tmp_path_factory.mktemp("log") / "chat.parquet", chat(100))


def judged(run: Path, file: Path, traces: Path, *, revision: str = "1", since: Path | None = None) -> Manifest:
    order = asked(run, file, 40, since_run=None if since is None else str(since))
    return AuditRun(order).execute(ScriptedLane(str(traces), revision=revision), POOL)


def test_only_what_is_new_or_changed_is_judged_again(log: Path, tmp_path: Path) -> None:
    traces = tmp_path
    longer = write_parquet(tmp_path / "chat.parquet", [*chat(90), {**chat(1, 90)[0], "body": "edited"}, *chat(29, 91)])
    judged(tmp_path / "first", log, traces)
    second = judged(tmp_path / "second", longer, traces, since=tmp_path / "first")
    third = judged(tmp_path / "third", longer, traces, since=tmp_path / "second")
    other = judged(tmp_path / "other", longer, traces, revision="2", since=tmp_path / "second")

    verdicts, letters = rows_of(tmp_path / "second")
    assert {row["event_id"] for row in verdicts} == {
        f"e{number}" for number in [90, *range(100, 120)] if number % 50 not in (6, 8)
    }
    assert second.counts.rows == 120
    assert second.counts.skipped + second.counts.verdicts + second.counts.dead_letters == 120
    assert len(letters) == second.counts.dead_letters == 6  # what had no verdict is tried again
    assert third.counts.verdicts == 0
    assert other.counts.verdicts == 114
    assert other.since_run == str(tmp_path / "second")


def test_rows_of_another_tenant_are_judged_again(log: Path, tmp_path: Path) -> None:
    judged(tmp_path / "first", log, tmp_path)
    rows = [{**row, "who": "kids"} if number % 2 else row for number, row in enumerate(chat(100))]
    moved = write_parquet(tmp_path / "chat.parquet", rows)
    manifest = judged(tmp_path / "second", moved, tmp_path, since=tmp_path / "first")

    assert {row["tenant"] for row in rows_of(tmp_path / "second")[0]} == {"kids"}
    assert manifest.counts.verdicts == 50


def test_a_run_that_is_not_finished_is_not_continued_from(log: Path, tmp_path: Path) -> None:
    begun = AuditRun(asked(tmp_path / "first", log))
    begun._folder.write_manifest(begun.manifest)  # noqa: SLF001 - begun, and nothing done

    with pytest.raises(ConfigurationError, match="is not finished"):
        AuditRun(asked(tmp_path / "second", log, since_run=str(tmp_path / "first")))


def test_a_sample_judges_its_rows_only_and_texts_are_kept_where_that_is_asked(log: Path, tmp_path: Path) -> None:
    rows = chat(100)
    sample = sample_of("30", None, lambda: [(row["key"], "") for row in rows], "01" * 16)
    order = asked(tmp_path / "run", log, 40, sample=sample, keep_text=True, rate=1_000_000.0)
    manifest = AuditRun(order).execute(ScriptedLane(str(tmp_path)), POOL)
    verdicts, letters = rows_of(tmp_path / "run")
    texts = {row["key"]: row["body"] for row in rows}

    assert len(verdicts) + len(letters) == 30
    assert manifest.counts.skipped == 70
    assert manifest.counts.judged == prompts_asked(tmp_path)
    for row in verdicts:
        assert row["text"] == texts[row["event_id"]]
        assert row["text_sha256"] == sha256(row["text"].encode()).hexdigest()
