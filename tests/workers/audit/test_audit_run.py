"""Runs on real Ray Data: what is written, that nothing is done twice, and what happens when processes are killed."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import from_json, to_json

from pipelines.lanes.batch import judge_batch
from schemas.errors import ConfigurationError, ModerationError
from schemas.record import SourceRecord
from schemas.verdict_writer import VerdictText
from tests.guards.answering_guard import judge_without_waits
from tests.workers.audit.scripted_lane import (
    ScriptedGuard,
    ScriptedLane,
    asked,
    chat,
    files_of,
    moderation,
    prompts_asked,
    rows_of,
    write_parquet,
)
from workers.audit.actors import Pool
from workers.audit.manifest import BlockMarker
from workers.audit.rows.tables import verdict_of
from workers.audit.run import AuditRun
from workers.audit.run_folder import RunFolder
from workers.audit.run_lock import driving

ROWS = 400
POOL = Pool(2, 0.5, 0.0)
pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("_local_ray")]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parquet(tmp_path_factory.mktemp("log") / "chat.parquet", chat(ROWS))


@pytest.fixture(scope="module")
def whole(_local_ray: None, log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    traces, run = tmp_path_factory.mktemp("traces"), tmp_path_factory.mktemp("runs") / "whole"
    AuditRun(asked(run, log)).execute(ScriptedLane(str(traces)), POOL)
    return run


def test_p1_every_row_is_one_verdict_or_one_dead_letter_and_the_manifest_counts_them(log: Path, whole: Path) -> None:
    verdicts, letters = rows_of(whole)
    manifest = RunFolder(str(whole)).manifest()
    offsets = [row["source_offset"] for row in [*verdicts, *letters]]

    assert sorted(offsets) == list(range(ROWS))
    assert {letter["reason"] for letter in letters} == {"blank_text", "unparsable_output"}
    assert {letter["text_sha256"] is None for letter in letters if letter["reason"] == "blank_text"} == {True}
    assert {letter["text_sha256"] for letter in letters if letter["reason"] == "unparsable_output"} == {
        sha256(b"gibberish").hexdigest()
    }
    assert manifest.state == "finished"
    assert manifest.counts.rows == ROWS
    assert (manifest.counts.verdicts, manifest.counts.dead_letters) == (len(verdicts), len(letters))
    assert manifest.counts.by_severity == dict(sorted(Counter(row["severity"] for row in verdicts).items()))
    assert manifest.counts.by_reason == dict(sorted(Counter(row["reason"] for row in letters).items()))
    assert manifest.counts.judged + manifest.counts.deduplicated == ROWS - ROWS // 50
    assert manifest.counts.deduplicated >= 48 - 2 * 2  # two texts come again and again; each actor asks once
    assert manifest.cost.prompt_tokens > 300 * manifest.counts.judged
    assert manifest.inputs[0].rows == ROWS  # type: ignore[union-attr]
    assert manifest.provenance is not None
    assert manifest.provenance.model == "scripted"
    assert {"python", "ray", "torch", "transformers", "pyarrow", "weir"} == set(manifest.versions)
    assert log.name == verdicts[0]["source_topic"]


def test_p7_verdicts_are_those_of_live_for_the_same_event_to_the_byte(whole: Path, tmp_path: Path) -> None:
    judge = judge_without_waits(ScriptedGuard(ScriptedLane(str(tmp_path))))
    verdicts, _ = rows_of(whole)
    by_offset = {row["source_offset"]: verdict_of(row) for row in verdicts}
    events = [
        {"event_id": row["key"], "tenant": row["who"], "text": row["body"], "created_at": row["at"]}
        for row in chat(ROWS)
    ]
    records = [_record(number, event["created_at"], event) for number, event in enumerate(events)]
    for number, (outcome, _) in enumerate(asyncio.run(judge_batch(records, moderation(), judge))):
        if not isinstance(outcome, VerdictText):
            assert number not in by_offset
            continue
        said, written = from_json(outcome.value), from_json(by_offset[number].to_bytes())
        del said["timing"], written["timing"]
        assert list(said.items()) == list(written.items())


def test_a_finished_run_is_not_overwritten(log: Path, whole: Path) -> None:
    with pytest.raises(ConfigurationError, match="finished at"):
        AuditRun(asked(whole, log))


def test_a_folder_with_other_things_in_it_is_refused(log: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")

    with pytest.raises(ConfigurationError, match="choose another folder"):
        AuditRun(asked(tmp_path, log))


def test_an_actor_that_is_killed_costs_one_block_at_most_and_the_files_are_the_same(
    log: Path, whole: Path, tmp_path: Path
) -> None:
    lane = ScriptedLane(str(tmp_path), seconds_a_call=0.02)
    killed: list[int] = []

    def told(marker: BlockMarker) -> None:
        if marker.block >= 2 and not killed:
            killed.append(int((tmp_path / "pids").read_text(encoding="utf-8").split()[0]))
            os.kill(killed[0], signal.SIGKILL)

    run = tmp_path / "run"
    manifest = AuditRun(asked(run, log)).execute(lane, POOL, told)

    assert killed
    assert len((tmp_path / "pids").read_text(encoding="utf-8").split()) >= 3
    assert rows_of(run) == rows_of(whole)
    assert files_of(run) == files_of(whole)
    assert prompts_asked(tmp_path) <= manifest.counts.judged + 20 + 20  # of the block; and a new actor knows no answers


def test_a_driver_that_is_killed_is_taken_up_again_and_the_files_are_the_same(
    log: Path, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "tests.workers.audit.killed_driver", str(run), str(log), str(tmp_path)]
    driver = subprocess.run(command, stdout=subprocess.PIPE, timeout=60, check=False)
    with driving(str(run)) as still_ours:
        again = AuditRun(asked(run, log), still_ours)
        done = len(again.done)
        asked_before = prompts_asked(tmp_path)
        manifest = again.execute(ScriptedLane(str(tmp_path)), POOL)

    assert driver.returncode == -signal.SIGKILL
    assert again.resumed
    assert 2 <= done < ROWS // 20
    assert len(manifest.attempts) == 2
    assert rows_of(run) == rows_of(whole)
    assert files_of(run) == files_of(whole)
    assert prompts_asked(tmp_path) - asked_before <= (ROWS // 20 - done) * 20


def test_a_run_is_not_taken_up_with_something_else(log: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = AuditRun(asked(run, log))
    first._folder.write_manifest(first.manifest)  # noqa: SLF001 - begun, and nothing done
    changed = write_parquet(tmp_path / "chat.parquet", chat(ROWS - 1))

    with pytest.raises(ConfigurationError, match="block_rows is another: the run was begun with 20, now it is 30"):
        AuditRun(asked(run, log, 30))
    with pytest.raises(ConfigurationError, match=r"inputs\[0\].uri is another"):
        AuditRun(asked(run, changed))
    with pytest.raises(ConfigurationError, match="keep_text is another"):
        AuditRun(asked(run, log, keep_text=True))


def test_a_run_is_not_taken_up_with_another_model(log: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"

    class StopError(Exception):
        pass

    def stop(_marker: BlockMarker) -> None:
        raise StopError

    with pytest.raises(StopError):
        AuditRun(asked(run, log)).execute(ScriptedLane(str(tmp_path)), POOL, stop)
    with pytest.raises(ModerationError, match=r"provenance.revision: the run was begun with 1, now it is 2"):
        AuditRun(asked(run, log)).execute(ScriptedLane(str(tmp_path), revision="2"), POOL)


def test_a_block_whose_files_are_gone_cut_or_others_is_done_again_although_it_has_a_marker(
    log: Path, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    folder = RunFolder(str(run))
    folder.write_manifest(folder.manifest().model_copy(update={"state": "running"}))
    next(run.glob("verdicts/*/verdict=Unsafe/block-000003.parquet")).unlink()
    cut = next(run.glob("verdicts/*/verdict=Safe/block-000005.parquet"))
    cut.write_bytes(cut.read_bytes()[:100])
    other = next(run.glob("verdicts/*/verdict=Safe/block-000007.parquet"))
    other.write_bytes(other.read_bytes()[:-1] + b"x")
    (run / "blocks/block-000009.json").write_bytes(b"{")
    again = AuditRun(asked(run, log))
    again.execute(ScriptedLane(str(tmp_path)), POOL)

    assert set(range(ROWS // 20)) - again.done == {3, 5, 7, 9}
    assert rows_of(run) == rows_of(whole)


def test_an_input_that_changes_while_it_is_read_stops_the_run(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "chat.parquet", chat(60))
    told: list[BlockMarker] = []

    def change(marker: BlockMarker) -> None:
        told.append(marker)
        if len(told) == 3:
            write_parquet(file, chat(60, 1))

    with pytest.raises(ModerationError, match=r"chat\.parquet: has changed while the run read it"):
        AuditRun(asked(tmp_path / "run", file)).execute(ScriptedLane(str(tmp_path)), Pool(1, 0.5, 0.0), change)
    assert RunFolder(str(tmp_path / "run")).manifest().state == "running"
    with pytest.raises(ConfigurationError, match=r"inputs\[0\].*is another"):
        AuditRun(asked(tmp_path / "run", file))


def test_a_run_that_loses_files_while_it_goes_on_is_not_finished_until_they_are_made_again(
    log: Path, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    removed: list[str] = []

    def told(marker: BlockMarker) -> None:  # as a second driver would that thinks the block undone
        if not removed:
            removed.append(marker.files[0].name)
            (run / removed[0]).unlink()

    with pytest.raises(ModerationError, match="1 files of blocks that were done are gone or cut, such as verdicts/"):
        AuditRun(asked(run, log)).execute(ScriptedLane(str(tmp_path)), POOL, told)
    state = RunFolder(str(run)).manifest().state
    AuditRun(asked(run, log)).execute(ScriptedLane(str(tmp_path)), POOL)

    assert state == "running"
    assert rows_of(run) == rows_of(whole)


def test_a_driver_whose_run_is_anothers_stops_and_says_so(log: Path, tmp_path: Path) -> None:
    seen: list[BlockMarker] = []

    def still_ours() -> None:
        if seen:
            raise ModerationError("another one's")

    with pytest.raises(ModerationError, match="another one's") as caught:
        AuditRun(asked(tmp_path / "run", log), still_ours).execute(ScriptedLane(str(tmp_path)), POOL, seen.append)

    assert caught.tb  # whose frames hold what was not closed
    left = [thread.name for thread in threading.enumerate()]
    assert [name for name in left if name.startswith(("StreamingExecutor", "iter_threaded", "Prefetcher"))] == []
    assert len(seen) == 1
    assert RunFolder(str(tmp_path / "run")).manifest().state == "running"


def _record(number: int, time_s: int, event: dict[str, Any]) -> SourceRecord:
    return SourceRecord("chat.parquet", 0, number, time_s * 1000, None, to_json(event), ())
