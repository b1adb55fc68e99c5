"""The report of what `AuditRun` itself has written says what its manifest says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.workers.audit.report.report_runs import silent
from tests.workers.audit.scripted_lane import ScriptedLane, asked, chat, write_parquet
from workers.audit import run as audit_run
from workers.audit.actors import Pool
from workers.audit.block_work import BlockWork, RunWork
from workers.audit.manifest import BlockMarker, Manifest
from workers.audit.report.files import RunFiles
from workers.audit.report.report import Choices, build_report
from workers.audit.rows.blocks import Block

ROWS = 200


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Manifest]:
    """Makes a run of that name by a model of that revision, in this process: Ray has its own tests."""

    def do_blocks(
        blocks: Iterable[Block], work: RunWork, factory: ScriptedLane, keys: Any, _pool: Pool
    ) -> Iterator[BlockMarker]:
        with BlockWork(work, *factory(), keys) as worker:
            yield from map(worker.do, blocks)

    monkeypatch.setattr(audit_run, "do_blocks", do_blocks)
    log = write_parquet(tmp_path / "chat.parquet", chat(ROWS))

    def judge(name: str, revision: str) -> Manifest:
        wanted = asked(tmp_path / name, log, keep_text=True)
        lane = ScriptedLane(str(tmp_path), revision=revision, scores=True)
        return audit_run.AuditRun(wanted).execute(lane, Pool(1, 0.5, 0.0))

    return judge


def test_the_figures_are_those_of_the_manifest(judged: Callable[[str, str], Manifest], tmp_path: Path) -> None:
    manifest, _ = judged("new", "2"), judged("old", "1")
    runs = (RunFiles(str(tmp_path / name)) for name in ("new", "old"))
    report = build_report(*runs, Choices(include_text=True), silent)
    counts = manifest.counts

    assert report.warnings == []
    assert {name: rows for name, rows in report.severities.items() if rows} == counts.by_severity
    assert dict(sorted(report.categories.items())) == counts.by_category
    assert report.actions == counts.by_action
    assert dict(sorted((letter.reason, letter.rows) for letter in report.dead_letters)) == counts.by_reason
    assert {group.name for group in report.tenants.listed} == {"tenant-0", "tenant-1", "tenant-2"}
    assert [histogram.scored for histogram in report.histograms] == [counts.verdicts] * 3
    assert all("kill" in (example.text or "") for example in report.examples[0].examples)
    assert report.times.unit == "hour"
    assert report.comparison is not None
    assert (report.comparison.pairs, report.comparison.kappa) == (counts.verdicts, 1.0)
    assert report.comparison.against.provenance["revision"] == "1"
