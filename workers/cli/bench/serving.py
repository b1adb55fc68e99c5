"""`weir bench latency`, `background` and `asks`: what one guard replica on Ray Serve answers, and when.

The measuring is done in `workers.bench.serving`.
"""

from typing import Annotated

import typer
from rich.table import Table

from workers.cli.options import AsJson, Config
from workers.cli.terminal import console, progress_bar, show_json, stdout_kept_clean
from workers.settings.loading import load_settings, prepare_ray
from workers.telemetry.log import configure_logging

MeasuredModel = Annotated[str, typer.Option(help="Hub name, folder, or demo (not a safety classifier).")]
Seconds = Annotated[float, typer.Option(min=0.5, help="Of each run.")]
Rounds = Annotated[int, typer.Option(min=1, help="Runs of each load on each side, in turn.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds within which a message is to be answered.")]
PassMs = Annotated[
    float | None, typer.Option(min=0, help="No model: a batch of any size takes so long, as nearly on a GPU.")
]
Seed = Annotated[int, typer.Option(help="Of the times of arrival.")]


def latency(
    model: MeasuredModel = "demo",
    load: Annotated[
        list[float] | None,
        typer.Option(min=0.1, help="Messages a second; give several. Default: 0.25, 0.5, 0.8, 1.2 of the capacity."),
    ] = None,
    seconds: Seconds = 5.0,
    rounds: Rounds = 2,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Largest batch of each side, max_batch_size too; default: guard.batch_size."),
    ] = None,
    wait: Annotated[
        list[float] | None,
        typer.Option(
            min=0, help="batch_wait_timeout_s, each a side of its own. Default: 0.01, which is Serve's, 0.05."
        ),
    ] = None,
    timeout: Timeout = 30.0,
    pass_ms: PassMs = None,
    seed: Seed = 1,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Batch size, messages/s and latency against offered load: our batcher beside @serve.batch, on Ray Serve.

    Exits with 0 only if every message was answered or timed out.
    """
    configure_logging("CRITICAL")
    prepare_ray()
    from workers.bench.serving.latency import LoadPlan, run_load_bench  # Ray reads its environment when imported

    settings = load_settings(config).with_model(model)
    if batch_size is not None:
        settings = settings.with_guard(batch_size=batch_size)
    plan = LoadPlan(tuple(load or ()), seconds, rounds, tuple(wait or (0.01, 0.05)), seed, timeout, pass_ms)
    with progress_bar("runs") as bar, stdout_kept_clean():
        report = run_load_bench(settings, plan, bar)
    if as_json:
        show_json(report.to_dict())
        raise typer.Exit(int(not report.is_good))
    known = "" if report.capacity is None else f", capacity {report.capacity:,.0f} messages/s"
    names = ["load", "side", "offered/s", "done/s", "mean batch", "p50 ms", "p99 ms", "late ms", "errors", "time-outs"]
    table = Table(*names, title=f"{report.model}{known}")
    for row in report.loads:
        figures = (row.offered, row.done, row.mean_batch, row.p50_ms, row.p99_ms, row.late_p99_ms)
        cells = (f"{figure:,.1f}" for figure in figures)
        table.add_row(f"{row.load:,.1f}", row.side, *cells, str(row.errors), str(row.timeouts))
    out = console()
    out.print(table)
    out.print(f"{report.different_answers} of {report.compared_answers} messages were answered differently")
    out.print(f"settings: {report.settings}")
    out.print(f"machine: {report.machine}; {report.versions}")
    raise typer.Exit(int(not report.is_good))


def background(
    model: MeasuredModel = "demo",
    share: Annotated[
        list[float] | None,
        typer.Option(min=0.01, max=1.5, help="Live load, of capacity; give several. Default: 0.25, 0.5, 0.8."),
    ] = None,
    seconds: Seconds = 10.0,
    rounds: Rounds = 3,
    chunk: Annotated[int, typer.Option(min=1, help="Messages of a call that is not live.")] = 64,
    batch_tokens: Annotated[
        int | None, typer.Option(min=1, help="guard.background_batch_tokens, in place of what is set.")
    ] = None,
    timeout: Timeout = 30.0,
    pass_ms: PassMs = None,
    seed: Seed = 1,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Latency of live messages alone, beside background calls, as many asks, and the same calls without priority.

    On Ray Serve, one replica for all. Exits with 0 only if every live message was answered.
    """
    configure_logging("CRITICAL")
    prepare_ray()
    from workers.bench.serving.background import BackgroundPlan, run_background_bench  # Ray reads its environment

    settings = load_settings(config).with_model(model)
    if batch_tokens is not None:
        settings = settings.with_guard(background_batch_tokens=batch_tokens)
    plan = BackgroundPlan(tuple(share or (0.25, 0.5, 0.8)), seconds, rounds, chunk, seed, timeout, pass_ms)
    with progress_bar("runs") as bar, stdout_kept_clean():
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


def asks(
    model: MeasuredModel = "demo",
    times: Annotated[
        list[float] | None, typer.Option(min=0.1, help="What is offered, in times of the capacity. Default: 0.8, 2, 5.")
    ] = None,
    items: Annotated[int, typer.Option(min=1, max=256, help="Of one body.")] = 8,
    seconds: Seconds = 14.0,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each load, in turn.")] = 2,
    deadline: Annotated[float, typer.Option(min=0.1, help="Of each body, in seconds.")] = 3.0,
    message_ms: Annotated[
        float | None, typer.Option(min=0, help="No model: each message takes so long, as nearly on a CPU.")
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Goodput over HTTP when more is asked than can be done, late answers, and how fast the rest is refused.

    Exits with 0 only if every body was answered, refused for want of time, or late.
    """
    configure_logging("CRITICAL")
    prepare_ray()
    from workers.bench.serving.asks import AskPlan, run_ask_bench  # Ray reads its environment when imported

    settings = load_settings(config).with_model(model)
    plan = AskPlan(tuple(times or (0.8, 2.0, 5.0)), items, seconds, rounds, deadline, message_ms)
    with progress_bar("runs") as bar, stdout_kept_clean():
        report = run_ask_bench(settings, plan, bar)
    if as_json:
        show_json(report.to_dict())
        raise typer.Exit(int(not report.is_good))
    title = f"{report.engine}, capacity {report.capacity:,.1f} items/s, afterwards {report.capacity_after:,.1f}"
    names = ["times", "offered/s", "goodput/s", "of capacity", "p50 ms", "p99 ms", "refused", "in p50 ms", "p99 ms"]
    table = Table(*names, "late", "others", title=title)
    for row in report.figures:
        answers = (row.offered, row.goodput, row.of_capacity, row.answer_p50_ms, row.answer_p99_ms)
        refusals = (row.refusal_p50_ms, row.refusal_p99_ms)
        cells = [*(f"{figure:,.2f}" for figure in answers), str(row.refused), *(f"{value:,.1f}" for value in refusals)]
        table.add_row(f"{row.times:g}", *cells, str(row.late), str(row.others or ""))
    out = console()
    out.print(table)
    out.print(f"settings: {report.settings}; {report.versions}")
    raise typer.Exit(int(not report.is_good))
