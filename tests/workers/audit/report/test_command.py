"""`weir audit report`: page and JSON where they were asked for, one line for what is wrong."""

from __future__ import annotations

import csv
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.workers.audit.report.report_runs import dead_letter, verdict, write_run
from workers.audit.report.model import AuditReport
from workers.cli.app import app

WARNED = "weir: 1 of 3 rows (33.3%) got no verdict: every share on this page is one of the others.\n"


@pytest.fixture
def run(tmp_path: Path) -> str:
    rows = [verdict("a"), verdict("b", "Unsafe", "Violent", text="the very words")]
    return write_run(tmp_path / "run", rows, [dead_letter("x", "too_long")])


def test_page_and_json_hold_the_same_figures(run: str, tmp_path: Path) -> None:
    page, twin = tmp_path / "page.html", tmp_path / "report.json"
    result = CliRunner().invoke(app, ["audit", "report", run, "--out", str(page), "--json", str(twin)])

    assert result.exit_code == 0, result.output
    assert (result.stdout, result.stderr) == ("", f"{WARNED}{page}: 2 verdicts, 1 dead letters\n")
    report = AuditReport.model_validate_json(twin.read_text())
    assert report.severities == {"Safe": 1, "Controversial": 0, "Unsafe": 1}
    assert "50.00\xa0%" in page.read_text()


def test_the_tables_are_csv_that_no_spreadsheet_takes_for_formulas(tmp_path: Path) -> None:
    rows = [verdict("a", "Unsafe", "Violent", tenant="=HYPERLINK(1)"), verdict("b", tenant="-1", language="@x")]
    rows.append(verdict("c", tenant="a;=1;\t＋2 -3"))  # a spreadsheet's own separator may be another
    run = write_run(tmp_path / "run", rows, [dead_letter("x", "too_long")])
    refused = CliRunner().invoke(app, ["audit", "report", run, "--csv", str(tmp_path / "tables")])
    (tmp_path / "tables").mkdir()
    made = ["--out", str(tmp_path / "page.html"), "--csv", str(tmp_path / "tables")]
    result = CliRunner().invoke(app, ["audit", "report", run, *made])
    read = {path.name: list(csv.reader(path.open())) for path in (tmp_path / "tables").iterdir()}

    assert (refused.exit_code, result.exit_code) == (2, 0)
    assert len(read) == 7
    assert read["run.csv"][:2] == [["fact", "value"], ["run", "run"]]
    assert [row[:4] for row in read["tenants.csv"]] == [
        ["tenant", "verdicts", "Safe", "Controversial"],
        ["'-1", "1", "1", "0"],
        ["'=HYPERLINK(1)", "1", "0", "0"],
        ["a;'=1;'\t'＋2 -3", "1", "1", "0"],
    ]
    assert read["conversations.csv"][0][:2] == ["conversation", "tenant"]
    assert {row[0] for row in read["languages.csv"][1:]} == {"'@x", "en"}
    assert read["categories.csv"] == [["category", "verdicts"], ["Violent", "1"]]
    assert read["dead-letters.csv"][1] == ["too_long", "render", "1", "1.0"]


def test_tables_of_another_run_are_not_written_over(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, [verdict("a", tenant=name)]) for name in ("first", "second")]

    def made(run: str) -> Any:
        files = ["--out", str(tmp_path / f"{Path(run).name}.html"), "--csv", str(tmp_path)]
        return CliRunner().invoke(app, ["audit", "report", run, *files])

    assert [made(runs[0]).exit_code, made(runs[0]).exit_code] == [0, 0], "its own may be written again"
    refused = made(runs[1])
    assert refused.exit_code == 2
    assert f"{tmp_path}: has the tables of another run" in refused.stderr
    assert "first" in (tmp_path / "tenants.csv").read_text()
    assert not (tmp_path / "second.html").exists()


def test_json_goes_to_stdout_for_a_dash(run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["audit", "report", run, "--json", "-", "--against", run, "--top", "1"])

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["comparison"]["matrix"] == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert (tmp_path / "report.html").exists()


def test_a_page_with_text_is_its_owners_alone(run: str, tmp_path: Path) -> None:
    page, twin = tmp_path / "page.html", tmp_path / "report.json"
    files = ["--out", str(page), "--json", str(twin)]
    page.write_text("an earlier one, which all may read")
    result = CliRunner().invoke(app, ["audit", "report", run, "--include-text", *files])

    assert result.exit_code == 0, result.output
    assert "the very words" in page.read_text()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (page, twin)] == [0o600, 0o600]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "report.json", "run"]


def test_the_report_of_another_run_is_not_written_over_and_one_s_own_is(
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = write_run(tmp_path / "other", [verdict("c")])
    assert CliRunner().invoke(app, ["audit", "report", run, "--json", "r.json"]).exit_code == 0
    first = (tmp_path / "report.html").read_text()

    for arguments in (["audit", "report", other], ["audit", "report", other, "--out", "new.html", "--json", "r.json"]):
        refused = CliRunner().invoke(app, arguments)
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert "is the report of another run" in refused.stderr
    assert (tmp_path / "report.html").read_text() == first
    assert not (tmp_path / "new.html").exists()
    again = CliRunner().invoke(app, ["audit", "report", run])
    assert (again.exit_code, again.stderr) == (0, f"{WARNED}{tmp_path}/report.html: 2 verdicts, 1 dead letters\n")


def test_what_a_killed_one_left_is_not_in_the_way(run: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    left = tmp_path / f".page.html.{os.getpid()}"
    left.write_text("half a page")
    result = CliRunner().invoke(app, ["audit", "report", run, "--out", str(page)])

    assert result.exit_code == 0, result.output
    assert "half a page" not in page.read_text()
    assert not left.exists()


def test_warnings_are_told(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [verdict("a")], state="running", finished_at=None, blocks=2)
    result = CliRunner().invoke(app, ["audit", "report", run, "--out", str(tmp_path / "page.html")])

    assert result.exit_code == 0
    assert "weir: This run is not finished: 1 of 2 blocks are done" in result.stderr


@pytest.mark.parametrize(
    "arguments", [["nowhere"], ["RUN", "--against", "nowhere"], ["RUN", "--out", "no/such/folder"]]
)
def test_what_cannot_be_read_or_written_is_one_line(
    run: str, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["audit", "report", *(run if part == "RUN" else part for part in arguments)])

    assert result.exit_code == 2
    assert result.stderr.startswith(f"weir: {arguments[-1]}")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "report.html").exists()
