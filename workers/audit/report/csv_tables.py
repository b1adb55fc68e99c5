"""The report's tables as CSV.

A cell from outside that a spreadsheet would take for a formula gets an apostrophe before it, also where the spreadsheet
would begin a cell at another separator than ours.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence

from schemas.verdict import Severity
from workers.audit.report.model import AuditReport, Breakdown

_FORMULA = re.compile(r"(^|[;|,\t\r\n])(?=[=+\-@＝＋－＠\t\r\n])")
_SEVERITIES = [severity.value for severity in Severity]
Rows = Iterator[Sequence[object]]


def csv_tables(report: AuditReport) -> dict[str, str]:
    """The text of each table, by the name of its file."""
    tables = {
        "times.csv": _times(report),
        "categories.csv": _categories(report),
        "tenants.csv": _groups(report.tenants, "tenant"),
        "languages.csv": _groups(report.languages, "language"),
        "conversations.csv": _groups(report.conversations, "conversation"),
        "dead-letters.csv": _dead_letters(report),
    }
    return {name: _text(rows) for name, rows in tables.items()}


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
