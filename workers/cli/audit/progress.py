"""Shows people how far an audit is: a bar while it runs, a table at its end.

Does not read the run's folder.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pipelines.capacity.capacity import shown
from schemas.verdict import Severity
from workers.audit.manifest import BlockMarker, Counts, FileInput, Manifest
from workers.cli.terminal import console, plain

_LISTED = 10
_WINDOW_S = 120.0  # that rate and ETA go by: blocks come at once and then not for a while


class AuditBar:
    """A bar on stderr, where that is a terminal: rows, rate, time left, mix of verdicts. Use as a context manager.

    Args:
        rows: of the whole run.
        markers: of blocks that were done before.
        quiet: show nothing.
    """

    def __init__(self, rows: int, markers: Iterable[BlockMarker], *, quiet: bool) -> None:
        self._rows = rows
        self._before = sum(marker.counts.rows for marker in markers)
        self._severities: Counter[str] = Counter()
        self._dead_letters = 0
        for marker in markers:
            self._count(marker.counts)
        self._bar = Progress(
            TextColumn("rows"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[mix]}"),
            console=Console(stderr=True),
            transient=True,
            speed_estimate_period=_WINDOW_S,
            disable=quiet or not sys.stderr.isatty(),
        )

    def __enter__(self) -> Self:
        self._bar.start()
        self._task = self._bar.add_task("rows", total=self._rows, rate="", mix=self._mix())
        # Rows of earlier attempts are done, and say nothing of this one's rate.
        self._bar.update(self._task, completed=self._before)
        self._bar.reset(self._task, total=self._rows, completed=self._before, rate="", mix=self._mix())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def told(self, marker: BlockMarker) -> None:
        """Count one more block."""
        self._count(marker.counts)
        self._bar.advance(self._task, marker.counts.rows)
        speed = self._bar.tasks[0].speed
        self._bar.update(self._task, rate="" if speed is None else f"{speed:,.0f} rows/s", mix=self._mix())

    def _count(self, counts: Counts) -> None:
        self._severities.update(counts.by_severity)
        self._dead_letters += counts.dead_letters

    def _mix(self) -> str:
        # A line has 80 characters; what is not said is Safe.
        rest = {name: count for name, count in self._severities.items() if name != Severity.SAFE}
        total = sum(self._severities.values())
        shares = [f"{count / total:.1%} {name}" for name, count in sorted(rest.items())]
        return ", ".join([*shares, *([f"{self._dead_letters:,} dead"] if self._dead_letters else [])])


def mix_of(severities: Mapping[str, int]) -> str:
    """The share of each severity."""
    total = sum(severities.values())
    return "  ".join(f"{name.value} {severities.get(name.value, 0) / total:.1%}" for name in Severity if total)


def show_finished(run: str, manifest: Manifest) -> None:
    """The table of a run's counts and cost."""
    out, counts, cost = console(), manifest.counts, manifest.cost
    table = Table("", "", title=escape(plain(run)), show_header=False)
    for name, value in rows_of(counts):
        table.add_row(name, escape(plain(value)))
    for name, value in inputs_of(manifest):
        table.add_row(escape(plain(name)), escape(plain(value)))
    table.add_row("prompts judged", f"{counts.judged:,}")
    table.add_row("answered from the cache", f"{counts.deduplicated:,}")
    table.add_row("tokens", f"{cost.prompt_tokens:,} in, {cost.output_tokens:,} out")
    table.add_row("GPU seconds", f"{cost.gpu_seconds:,.1f}")
    table.add_row("seconds", f"{cost.wall_seconds:,.1f}")
    out.print(table)


def inputs_of(manifest: Manifest) -> list[tuple[str, str]]:
    """What was found of the input: dialects, malformed rows, and what was left out."""
    files = [item for item in manifest.inputs if isinstance(item, FileInput)]
    rows = []
    dialects = Counter(
        " ".join(f"{name} {value!r}" for name, value in item.dialect.items() if value is not None)
        for item in files
        if item.dialect is not None
    )
    rows += [(f"read with {name}", f"{count:,} files") for name, count in sorted(dialects.items())]
    rows += [(f"malformed in {item.name}", f"{item.malformed:,} rows") for item in files if item.malformed][:_LISTED]
    rows += [(f"not read: {item.why}", item.uri) for item in manifest.left_out[:_LISTED]]
    if (more := manifest.left_out_in_all - _LISTED) > 0:
        rows.append(("not read", f"{more:,} more; see the manifest"))
    return rows


def rows_of(counts: Counts) -> list[tuple[str, str]]:
    """Counts that a running and a finished run both show."""
    rows = [("rows", f"{counts.rows:,}")]
    if counts.events > counts.rows:
        rows.append(("turns in them", f"{counts.events:,}"))
    if counts.turns_not_judged:
        rows.append(("turns not judged; see --turns", f"{counts.turns_not_judged:,}"))
    rows.append(("verdicts", f"{counts.verdicts:,}"))
    rows += [(f"- {name}", f"{count:,}") for name, count in counts.by_severity.items()]
    rows += [("dead letters", f"{counts.dead_letters:,}")]
    rows += [(f"- {name}", f"{count:,}") for name, count in counts.by_reason.items()]
    if counts.skipped:
        rows.append(("left out", f"{counts.skipped:,}"))
    return rows


def show_estimate(estimated: dict[str, Any]) -> None:
    """An estimate as a table."""
    table = Table("", "", title="would be, about", show_header=False)
    for name, value in estimated.items():
        if value is not None:
            table.add_row(name.replace("_", " "), shown(value) if isinstance(value, int | float) else str(value))
    console().print(table)
