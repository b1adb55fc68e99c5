"""`weir bench`: benchmarks, each beside its baseline from the same run.

The measuring is done in `workers.stream`, `workers.serving` and `workers.bench`.
"""

import os
import statistics
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from workers.cli.bench.audit import audit
from workers.cli.bench.autoscale import autoscale
from workers.cli.bench.background import background
from workers.cli.bench.options import Model, PassMs, Rounds, Seconds, Seed, Timeout
from workers.cli.options import AsJson, Config
from workers.cli.terminal import console, progress_bar, show_json
from workers.settings.loading import load_settings, prepare_ray
from workers.telemetry.log import configure_logging

app = typer.Typer(no_args_is_help=True)
app.command()(audit)
app.command()(autoscale)
app.command()(background)


@app.command()
def stream(
    guard: Annotated[str, typer.Option(help="Only stub: a guard that answers at once.")] = "stub",
    events: Annotated[int, typer.Option(min=1_000, help="Chat events of each run.")] = 50_000,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of the event topic.")] = 4,
    runs: Annotated[int, typer.Option(min=1, help="Runs of each side, alternating.")] = 3,
    peers: Annotated[
        bool,
        typer.Option("--peers", help="Beside FastStream, Quix Streams and Bytewax too, for which pip is used once."),
    ] = False,
    peers_dir: Annotated[
        Path | None, typer.Option(help="Where their environments are kept; default: ~/.cache/weir/peers.")
    ] = None,
    tracing: Annotated[
        bool,
        typer.Option(
            "--tracing",
            help="Only Weir: tracing off, 1 % of the messages sampled, all; and 1 % while its collector is down.",
        ),
    ] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Events per second through one stream worker, beside a bare consume-and-produce loop on the same broker.

    With --peers, all sides are measured by the broker's clock and every result is checked; exits with 0 only if no
    side that could be run lost or spoilt one. Some work in batches of 5,000: for figures, give 200,000 events or more.
    """
    if guard != "stub":
        raise typer.BadParameter(f"{guard}: only stub is offered", param_hint="--guard")
    if peers_dir is not None and not peers:
        raise typer.BadParameter("only with --peers", param_hint="--peers-dir")
    if peers and tracing:
        raise typer.BadParameter("not with --peers", param_hint="--tracing")
    from workers.bench.stream.throughput import run_stream_bench  # kafka-python takes half a second

    configure_logging("CRITICAL" if peers else "ERROR")
    errors = Console(stderr=True)
    if peers:
        from workers.bench.stream.peers.comparison import run_peer_bench
        from workers.bench.stream.peers.environments import CACHE
        from workers.cli.bench.peers import show_peers

        folder = peers_dir or CACHE
        beside = run_peer_bench(
            load_settings(config), events, partitions, runs, folder, lambda text: errors.print(text)
        )
        show_json(beside.to_dict()) if as_json else show_peers(beside)
        raise typer.Exit(int(not beside.is_good))
    if tracing:
        from workers.bench.stream.tracing import run_trace_bench
        from workers.cli.bench.tracing import show_tracing

        traced = run_trace_bench(load_settings(config), events, partitions, runs, lambda text: errors.print(text))
        show_json(traced.to_dict()) if as_json else show_tracing(traced)
        return
    result = run_stream_bench(load_settings(config), events, partitions, runs, lambda text: errors.print(text))
    if as_json:
        show_json(result.to_dict())
        return
    table = Table("", "events/s, median", "runs", title=f"{events} events, {partitions} partitions; {result.machine}")
    sides = (
        ("weir", result.weir),
        ("weir, exactly once", result.exactly_once),
        ("bare kafka-python loop", result.bare),
    )
    for name, rates in sides:
        table.add_row(name, f"{statistics.median(rates):,.0f}", ", ".join(f"{rate:,.0f}" for rate in rates))
    out = console()
    out.print(table)
    out.print(
        f"weir over the bare loop {result.ratio:.2f}, exactly once over at least once {result.exactly_once_ratio:.2f}"
    )


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def engine(context: typer.Context) -> None:
    """Messages per second of the engines on random weights of the real shape; the options are those of its --help."""
    from workers.bench.engine.throughput import main  # torch takes seconds

    measure = typer.Typer(add_completion=False)
    measure.command()(main)
    measure(args=context.args, prog_name="weir bench engine")


@app.command()
def latency(
    model: Model = "demo",
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

    settings = load_settings(config)
    chosen = {"model": model, "revision": None, "batch_size": batch_size or settings.guard.batch_size}
    settings = settings.model_copy(update={"guard": settings.guard.model_copy(update=chosen)})
    plan = LoadPlan(tuple(load or ()), seconds, rounds, tuple(wait or (0.01, 0.05)), seed, timeout, pass_ms)
    # Ray prints the end of its own controller to stdout as a warning; stdout is for the report.
    with progress_bar("runs") as bar, Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
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


@app.command()
def stall(
    events: Annotated[int, typer.Option(min=1_000, help="Backlog.")] = 1_000_000,
    seconds: Annotated[int, typer.Option(min=1, help="How long to watch.")] = 30,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Memory of a worker whose guard never answers, in front of a long backlog."""
    from workers.bench.stream.stall import run_stall  # kafka-python takes half a second

    configure_logging("ERROR")
    errors = Console(stderr=True)
    result = run_stall(load_settings(config), events, seconds, lambda text: errors.print(text))
    if as_json:
        show_json(result.to_dict())
        return
    out = console()
    out.print(f"backlog {result.events:,} events, in flight {result.in_flight:,}; {result.machine}")
    out.print(f"resident MiB: {result.before} before, {result.full} when full, then each second:")
    out.print(" ".join(f"{value:.1f}" for value in result.after))


@app.command()
def parser(
    count: Annotated[int, typer.Option(min=1, help="Mutated outputs.")] = 1_000_000,
    seed: Annotated[int, typer.Option(help="Seed of the mutations.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Fuzz the output parser against the reference grammar. Exits with 0 only if no output was read wrongly."""
    from workers.bench.parser.fuzz import run  # only this command needs it

    with progress_bar("outputs") as bar:
        result = run(count, seed, lambda done: bar(done, count))
    if as_json:
        show_json({**asdict(result), "passed": result.passed})
    else:
        table = Table("outputs", "", title=f"seed {seed}")
        for name, value in asdict(result).items():
            table.add_row(name.replace("_", " "), f"{value:,}")
        console().print(table)
    raise typer.Exit(int(not result.passed))
