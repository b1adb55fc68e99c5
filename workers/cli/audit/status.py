"""`weir audit status`: how far a run is, from another terminal. Reads the run's folder and nothing else."""

import sys
import time
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from workers.cli.options import AsJson
from workers.cli.terminal import console, plain, show_json, show_line
from workers.extras import need


def status(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's folder.")],
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again, until the run is finished.")] = False,
    interval_s: Annotated[float, typer.Option("--interval", min=0.2, help="Seconds between looks.")] = 2.0,
    as_json: AsJson = False,
) -> None:
    """Rows done, rate, time left and the mix of verdicts of a run, also while it runs."""
    need("jinja2", "pandas", "pyarrow")
    from workers.audit.status import RunStatus  # pyarrow takes a while

    found = RunStatus(run)
    seen = found.look()
    if not watch:
        show_json(seen) if as_json else console().print(_table(seen))
        return
    if as_json or not sys.stdout.isatty():
        show_line(seen) if as_json else console().print(_table(seen))
        while seen["state"] != "finished":
            time.sleep(interval_s)
            seen = found.look()
            show_line(seen) if as_json else console().print(_table(seen))
        return
    with Live(console=console(), auto_refresh=False) as live:
        live.update(_table(seen), refresh=True)
        while seen["state"] != "finished":
            time.sleep(interval_s)
            seen = found.look()
            live.update(_table(seen), refresh=True)


def _driver(driver: dict[str, Any] | None) -> str:
    if driver is None:
        return "nobody; `weir audit run` as before goes on with it"
    who = f"process {driver['pid']} on {driver['host']}, since {driver['since']}"
    if driver["lives"] is False:
        return f"nobody; {who}, is dead; `weir audit run` as before goes on with it"
    return who if driver["lives"] else f"{who}, if it lives: there are no locks here"


def _table(seen: dict[str, Any]) -> Table:
    from workers.audit.manifest import Counts
    from workers.cli.audit.progress import mix_of, rows_of

    counts = Counts.model_validate(seen["counts"])
    table = Table("", "", title=escape(plain(seen["run"])), show_header=False)
    table.add_row("state", seen["state"])
    if seen["state"] != "finished":
        table.add_row("driven by", escape(plain(_driver(seen["driver"]))))
    table.add_row("blocks", f"{seen['blocks']['done']:,} of {seen['blocks']['of']:,}")
    table.add_row("rows in all", f"{seen['rows_in_all']:,}")
    for name, value in rows_of(counts):
        table.add_row(name, escape(plain(value)))
    table.add_row("mix", mix_of(counts.by_severity))
    if seen["rows_per_second"] is not None:
        table.add_row("rows a second", f"{seen['rows_per_second']:,}")
    if seen["seconds_left"] is not None:
        table.add_row("seconds left", f"{seen['seconds_left']:,.0f}")
    if seen["state"] != "finished" and seen["seconds_since_last_block"] is not None:
        table.add_row("since the last block", f"{seen['seconds_since_last_block']:,.0f} s")
    return table
