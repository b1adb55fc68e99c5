"""The report's tables as CSV.

A cell from outside that a spreadsheet would take for a formula gets an apostrophe before it, also where the spreadsheet
would begin a cell at another separator than ours.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from schemas.errors import ConfigurationError
from schemas.verdict import Severity
from workers.audit.report.model import AuditReport, Breakdown

RUN_TABLE = "run.csv"
_FORMULA = re.compile(r"(^|[;|,\t\r\n])(?=[=+\-@＝＋－＠\t\r\n])")
_FACT = 2  # cells of one
_SEVERITIES = [severity.value for severity in Severity]
Rows = Iterator[Sequence[object]]


def csv_tables(report: AuditReport) -> dict[str, str]:
    """The text of each table, by the name of its file."""
    tables = {
        RUN_TABLE: _run(report),
        "times.csv": _times(report),
        "categories.csv": _categories(report),
        "tenants.csv": _groups(report.tenants, "tenant"),
        "languages.csv": _groups(report.languages, "language"),
        "conversations.csv": _groups(report.conversations, "conversation"),
        "dead-letters.csv": _dead_letters(report),
    }
    return {name: _text(rows) for name, rows in tables.items()}


def refuse_other_tables(folder: Path | None, run_id: str) -> None:
    """Refuse to write over the tables of another run; None: none are written.

    Raises:
        ConfigurationError: the folder has such.
    """
    if folder is None:
        return
    try:
        with (folder / RUN_TABLE).open(encoding="utf-8", newline="") as file:
            facts = dict(row for row in csv.reader(file) if len(row) == _FACT)
    except (OSError, ValueError, csv.Error):  # not there, or somebody else's
        return
    if facts.get("run", run_id) != _safe(run_id):
        raise ConfigurationError(f"{folder}: has the tables of another run; choose another folder, or remove them")


def _run(report: AuditReport) -> Rows:
    yield ["fact", "value"]
    yield ["run", report.run.run_id]
    yield ["data", report.run.data]
    yield from report.run.provenance.items()


def _times(report: AuditReport) -> Rows:
    yield [report.times.unit, *_SEVERITIES]
    for bucket in report.times.buckets:
        yield [bucket.start, *(bucket.severities.get(name, 0) for name in _SEVERITIES)]


def _categories(report: AuditReport) -> Rows:
    yield ["category", "verdicts"]
    yield from report.categories.items()


def _groups(breakdown: Breakdown, kind: str) -> Rows:
    of_tenants = kind == "conversation"
    yield [kind, *(["tenant"] if of_tenants else []), "verdicts", *_SEVERITIES, "unsafe_share", "low", "high"]
    for group in [*breakdown.listed, *([breakdown.rest] if breakdown.rest else [])]:
        name = "(all others)" if group is breakdown.rest else group.name or ""
        counts = [group.severities.get(severity, 0) for severity in _SEVERITIES]
        tenant = [group.tenant or ""] if of_tenants else []
        yield [name, *tenant, group.rows, *counts, group.unsafe_share, group.low, group.high]


def _dead_letters(report: AuditReport) -> Rows:
    yield ["reason", "stage", "rows", "share"]
    for letter in report.dead_letters:
        yield [letter.reason, letter.stage or "", letter.rows, letter.share]


def _text(rows: Rows) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([_safe(cell) for cell in row] for row in rows)
    return file.getvalue()


def _safe(cell: object) -> object:
    return _FORMULA.sub(r"\1'", cell) if isinstance(cell, str) else cell
