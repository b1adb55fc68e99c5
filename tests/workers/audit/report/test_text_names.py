"""A report's names of texts tell which are equal, and not what they are (P10)."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.workers.audit.report.report_runs import silent, verdict, write_run
from workers.audit.report.files import RunFiles
from workers.audit.report.html import render
from workers.audit.report.report import Choices, build_report


def test_p10_no_name_of_a_text_can_be_guessed(tmp_path: Path) -> None:
    rows = [
        verdict("a", "Unsafe", text="kill"),
        verdict("b", "Controversial", text="hm"),
        verdict("c", "Safe", text="kill"),
    ]
    before = [verdict("a", "Safe", text="kill"), verdict("b", "Safe", text="hm"), verdict("c", "Unsafe", text="kill")]
    run, against = write_run(tmp_path / "run", rows), write_run(tmp_path / "before", before)
    report, again = (build_report(RunFiles(run), RunFiles(against), Choices(20, 25, False), silent) for _ in range(2))
    assert report.comparison is not None
    names = {flip.event_id: flip.text_name for flip in report.comparison.flips}

    assert names["a"] == names["c"] != names["b"]
    assert names["a"] in {example.text_name for example in report.examples[0].examples} <= set(names.values())
    assert again.examples[0].examples[0].text_name not in names.values(), "nor looked up in another report"
    written = render(report) + report.model_dump_json()
    for text in ("kill", "hm"):
        for kind in ("sha256", "md5", "sha1", "blake2b"):
            assert hashlib.new(kind, text.encode()).hexdigest()[:16] not in written
