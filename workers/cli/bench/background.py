"""`weir bench background`: what background work on the same guard replica costs live messages.

The measuring is done in `workers.bench.serving.background`.
"""

import os
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from workers.cli.bench.options import Model, PassMs, Rounds, Seconds, Seed, Timeout
from workers.cli.options import AsJson, Config
from workers.cli.terminal import console, progress_bar, show_json
from workers.settings.loading import load_settings, prepare_ray
from workers.telemetry.log import configure_logging


def background(
    model: Model = "demo",
    share: Annotated[
        list[float] | None,
        typer.Option(min=0.01, max=1.5, help="Live load, of capacity; give several. Default: 0.25, 0.5, 0.8."),
    ] = None,
    seconds: Seconds = 10.0,
    rounds: Rounds = 3,
    chunk: Annotated[int, typer.Option(min=1, help="Messages of a background call.")] = 64,
    batch_tokens: Annotated[
        int | None, typer.Option(min=1, help="guard.background_batch_tokens, in place of what is set.")
    ] = None,
    timeout: Timeout = 30.0,
    pass_ms: PassMs = None,
    seed: Seed = 1,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Latency of live messages alone, beside background calls, and beside the same calls without priority.

    On Ray Serve, one replica for all. Exits with 0 only if every live message was answered.
    """
    configure_logging("CRITICAL")
    prepare_ray()
    from workers.bench.serving.background import BackgroundPlan, run_background_bench  # Ray reads its environment

    settings = load_settings(config)
    tokens = batch_tokens or settings.guard.background_batch_tokens
    chosen = {"model": model, "revision": None, "background_batch_tokens": tokens}
    settings = settings.model_copy(update={"guard": settings.guard.model_copy(update=chosen)})
    plan = BackgroundPlan(tuple(share or (0.25, 0.5, 0.8)), seconds, rounds, chunk, seed, timeout, pass_ms)
    with progress_bar("runs") as bar, Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        report = run_background_bench(settings, plan, bar)
    if as_json:
        show_json(report.to_dict())
        raise typer.Exit(int(not report.is_good))
    names = ["share", "side", "offered/s", "mean batch", "p50 ms", "p99 ms", "p99 ratio", "late ms", "others/s", "lost"]
    table = Table(*names, title=f"{report.model}, capacity {report.capacity:,.0f} messages/s")
    for row in report.figures:
        live = row.live
        figures = (live.offered, live.mean_batch, live.p50_ms, live.p99_ms, row.p99_ratio, live.late_p99_ms, row.others)
        cells = (f"{figure:,.2f}" for figure in figures)
        table.add_row(f"{row.share:g}", live.side, *cells, str(live.sent - live.answered))
    out = console()
    out.print(table)
    out.print(f"settings: {report.settings}")
    out.print(f"machine: {report.machine}; {report.versions}")
    raise typer.Exit(int(not report.is_good))
