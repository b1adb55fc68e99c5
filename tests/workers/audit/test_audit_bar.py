"""The bar of a run, as a terminal shows it."""

from __future__ import annotations

import sys
from io import StringIO

import pytest

from schemas.verdict import Provenance
from workers.audit.manifest import BlockMarker, Cost, Counts
from workers.cli.audit.progress import AuditBar


class Terminal(StringIO):
    """Where a person looks."""

    def isatty(self) -> bool:
        return True


def marker(block: int) -> BlockMarker:
    counts = Counts(rows=50, verdicts=49, dead_letters=1, by_severity={"Safe": 39, "Unsafe": 10})
    provenance = Provenance(model="m", revision="1", prompt_sha256="p", engine="e", dtype="d", parser="1")
    return BlockMarker(block=block, finished_at="", provenance=provenance, counts=counts, cost=Cost())


def test_the_bar_shows_rows_time_left_and_the_mix_of_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    with AuditBar(400, [marker(0)], quiet=False) as bar:
        bar.told(marker(1))
        bar.told(marker(2))
    shown = terminal.getvalue()

    assert "150/400" in shown
    assert "20.4% Unsafe, 3 dead" in shown


def test_nothing_is_shown_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", StringIO())
    with AuditBar(400, [], quiet=False) as bar:
        bar.told(marker(1))

    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]
