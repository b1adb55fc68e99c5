"""`weir bench`: benchmarks, each beside its baseline from the same run.

The measuring is done in `workers.stream` and `workers.bench`.
"""

import statistics
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from workers.commands.options import AsJson, Config
from workers.commands.terminal import console, progress_bar, show_json
from workers.log import configure_logging
from workers.settings import load_settings

app = typer.Typer(no_args_is_help=True)


@app.command()
def stream(
    guard: Annotated[str, typer.Option(help="Only stub: a guard that answers at once.")] = "stub",
    events: Annotated[int, typer.Option(min=1_000, help="Chat events of each run.")] = 50_000,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of the event topic.")] = 4,
    runs: Annotated[int, typer.Option(min=1, help="Runs of each side, alternating.")] = 3,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Events per second through one stream worker, beside a bare consume-and-produce loop on the same broker."""
    if guard != "stub":
        raise typer.BadParameter(f"{guard}: only stub is offered", param_hint="--guard")
    from workers.stream.bench import run_stream_bench  # kafka-python takes half a second

    configure_logging("ERROR")
    errors = Console(stderr=True)
    result = run_stream_bench(load_settings(config), events, partitions, runs, lambda text: errors.print(text))
    if as_json:
        show_json(result.to_dict())
        return
    table = Table("", "events/s, median", "runs", title=f"{events} events, {partitions} partitions; {result.machine}")
    for name, rates in (("weir", result.weir), ("bare kafka-python loop", result.bare)):
        table.add_row(name, f"{statistics.median(rates):,.0f}", ", ".join(f"{rate:,.0f}" for rate in rates))
    out = console()
    out.print(table)
    out.print(f"ratio {result.ratio:.2f}")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def engine(context: typer.Context) -> None:
    """Messages per second of the engines on random weights of the real shape; the options are those of its --help."""
    from workers.serving.engine.bench import main  # torch takes seconds

    measure = typer.Typer(add_completion=False)
    measure.command()(main)
    measure(args=context.args, prog_name="weir bench engine")


@app.command()
def stall(
    events: Annotated[int, typer.Option(min=1_000, help="Backlog.")] = 1_000_000,
    seconds: Annotated[int, typer.Option(min=1, help="How long to watch.")] = 30,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Memory of a worker whose guard never answers, in front of a long backlog."""
    from workers.stream.stall_bench import run_stall  # kafka-python takes half a second

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
    from workers.bench.parser_fuzz import run  # only this command needs it

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
