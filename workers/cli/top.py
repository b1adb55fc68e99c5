"""`weir top`: a running application's figures in a terminal, from its collector or from itself.

The asking is done by `workers.tools.inspect.figure_sources`, the computing by `workers.tools.inspect.figures`.
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
from workers.settings.loading import prepare_ray
from workers.tools.inspect.figure_sources import COLLECTOR, FigureSource, figure_source
from workers.tools.inspect.figures import text_of

LOOK_S = 0.5
TIMEOUT_S = 10.0  # that the application has to answer


def top(
    url: Annotated[
        str | None,
        typer.Option(
            help=f"Metrics in Prometheus's format: of the collector that the workers export to. Default: {COLLECTOR},"
            " or the application itself where nothing answers there."
        ),
    ] = None,
    interval_s: Annotated[float, typer.Option("--interval", min=0.2, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Show one picture and end.")] = False,
    wait_s: Annotated[
        float, typer.Option("--wait", min=0.0, help="With --once: wait so many seconds for rates to be known.")
    ] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Show lag, rates, mix of verdicts, breakers and the shape of batches of a running application.

    From a collector, rates are known once two exports were seen to come, every 60 s unless OTEL_METRIC_EXPORT_INTERVAL
    says so. The application itself, on the Ray cluster of RAY_ADDRESS or the one that runs on this machine, says
    backlog, rates and breakers. Refreshes until Ctrl-C; where stdout is no terminal, writes one picture below the
    other.
    """
    prepare_ray()
    try:
        with figure_source(url, TIMEOUT_S) as source:
            if once:
                _wait_for_rates(source, wait_s)
                _show(source, as_json=as_json)
            else:
                _follow(source, interval_s, as_json=as_json)
    except KeyboardInterrupt:
        raise typer.Exit from None


def _wait_for_rates(source: FigureSource, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while not source.has_rates and time.monotonic() < deadline:
        time.sleep(min(LOOK_S, wait_s))
        source.look()


def _follow(source: FigureSource, interval_s: float, *, as_json: bool) -> None:
    if as_json or not sys.stdout.isatty():
        while True:
            if as_json:
                show_line(source.figures())
            else:
                _show(source, as_json=False)
                typer.echo()
            time.sleep(interval_s)
            _try_look(source)
    with Live(console=console(), screen=True, auto_refresh=False) as live:
        error = ""
        while True:
            live.update(Text(f"{_picture(source)}\n{error}"), refresh=True)
            time.sleep(interval_s)
            error = _try_look(source)


def _try_look(source: FigureSource) -> str:
    """What was there at the start may come back."""
    try:
        source.look()
    except ModerationError as error:
        return f"no new figures: {error}"
    return ""


def _show(source: FigureSource, *, as_json: bool) -> None:
    if as_json:
        show_json(source.figures())
    else:
        typer.echo(_picture(source))


def _picture(source: FigureSource) -> str:
    now = datetime.now(UTC).strftime("%H:%M:%S UTC")
    return plain(f"weir top   {source.name}   {now}\n{text_of(source.figures())}")
