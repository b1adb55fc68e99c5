"""`weir bench`: benchmarks, each beside its baseline from the same run.

Its commands are here and in the other modules of this folder; the measuring is done in `workers.bench`.
"""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from workers.cli.bench.audit import audit
from workers.cli.bench.autoscale import autoscale
from workers.cli.bench.host import host
from workers.cli.bench.roofline import roofline
from workers.cli.bench.serving import asks, background, latency
from workers.cli.bench.stream import stall, stream
from workers.cli.options import AsJson
from workers.cli.terminal import console, progress_bar, show_json

app = typer.Typer(no_args_is_help=True)
for command in (asks, audit, autoscale, background, host, latency, roofline, stall, stream):
    app.command()(command)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def engine(context: typer.Context) -> None:
    """Messages per second of the engines on random weights of the real shape; the options are those of its --help."""
    from workers.bench.engine.throughput import main  # torch takes seconds

    measure = typer.Typer(add_completion=False)
    measure.command()(main)
    measure(args=context.args, prog_name="weir bench engine")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def stream_guard(context: typer.Context) -> None:
    """Milliseconds a token of growing answers, beside feeding the whole text again; options are those of its --help."""
    from workers.bench.engine.stream_guard import main  # torch takes seconds

    measure = typer.Typer(add_completion=False)
    measure.command()(main)
    measure(args=context.args, prog_name="weir bench stream-guard")


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
