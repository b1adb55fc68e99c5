"""`weir top`: a running application's figures in a terminal, from the metrics endpoint of its collector.

The computing is done by `workers.tools.inspect.figures`.
"""

import sys
import time
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.live import Live
from rich.text import Text

from schemas.errors import ModerationError
from workers.cli.options import AsJson
from workers.cli.terminal import console, plain, show_json, show_line
from workers.tools.inspect.figures import figures_of, text_of
from workers.tools.inspect.scrapes import Scrapes, fetch

LOOK_S = 0.5


def top(
    url: Annotated[
        str, typer.Option(help="Metrics in Prometheus's format: of the collector that the workers export to.")
    ] = "http://localhost:8889/metrics",
    interval_s: Annotated[float, typer.Option("--interval", min=0.2, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Show one picture and end.")] = False,
    wait_s: Annotated[
        float, typer.Option("--wait", min=0.0, help="With --once: wait so many seconds for rates to be known.")
    ] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Show lag, rates, mix of verdicts, breakers and the shape of batches of a running application.

    Rates are known once two exports were seen to come, every 60 s unless OTEL_METRIC_EXPORT_INTERVAL says so.
    Refreshes until Ctrl-C; where stdout is no terminal, writes one picture below the other.
    """
    scrapes = Scrapes()
    if once:
        _look(scrapes, url)
        deadline = time.monotonic() + wait_s
        while not scrapes.has_rates and time.monotonic() < deadline:
            time.sleep(min(LOOK_S, wait_s))
            _look(scrapes, url)
        _show(scrapes, url, as_json=as_json)
        return
    try:
        _follow(scrapes, url, interval_s, as_json=as_json)
    except KeyboardInterrupt:
        raise typer.Exit from None


def _follow(scrapes: Scrapes, url: str, interval_s: float, *, as_json: bool) -> None:
    _look(scrapes, url)  # what is wrong at the start ends it; later, the endpoint may come back
    if as_json or not sys.stdout.isatty():
        while True:
            if as_json:
                show_line(figures_of(scrapes))
            else:
                _show(scrapes, url, as_json=False)
                typer.echo()
            time.sleep(interval_s)
            _try_look(scrapes, url)
    with Live(console=console(), screen=True, auto_refresh=False) as live:
        error = ""
        while True:
            live.update(Text(f"{_picture(scrapes, url)}\n{error}"), refresh=True)
            time.sleep(interval_s)
            error = _try_look(scrapes, url)


def _look(scrapes: Scrapes, url: str) -> None:
    scrapes.see(fetch(url), time.monotonic())


def _try_look(scrapes: Scrapes, url: str) -> str:
    try:
        _look(scrapes, url)
    except ModerationError as error:
        return f"no new figures: {error}"
    return ""


def _show(scrapes: Scrapes, url: str, *, as_json: bool) -> None:
    if as_json:
        show_json(figures_of(scrapes))
    else:
        typer.echo(_picture(scrapes, url))


def _picture(scrapes: Scrapes, url: str) -> str:
    now = datetime.now(UTC).strftime("%H:%M:%S UTC")
    return plain(f"weir top   {url}   {now}\n{text_of(figures_of(scrapes))}")
