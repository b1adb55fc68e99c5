"""`weir bench host`: CPU time of a message on its whole way, by part; the engine answers at once.

The measuring is done in `workers.bench.host`.
"""

import statistics
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from workers.cli.options import AsJson, Config
from workers.cli.terminal import console, show_json, stdout_kept_clean
from workers.settings.loading import load_settings, prepare_ray
from workers.telemetry.log import configure_logging

if TYPE_CHECKING:
    from workers.bench.host.way import HostResult

_FIGURES = (
    "cpu_us_per_message", "worker_us_per_message", "replica_us_per_message", "messages_per_s", "messages_per_call",
)  # fmt: skip
_MEMORY = ("worker_mib", "replica_mib")
_SIDES = {"weir": "weir", "serve.batch": "weir with @serve.batch", "bare": "bare kafka-python loop"}


def host(
    events: Annotated[int, typer.Option(min=100, help="Chat events of each run.")] = 50_000,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of the event topic.")] = 4,
    replicas: Annotated[int, typer.Option(min=1, help="Guard replicas, each with a process of its own.")] = 1,
    runs: Annotated[int, typer.Option(min=1, help="Runs of each side, in turn.")] = 3,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """CPU time of a message from Kafka to Kafka by part: worker, Serve handle, guard replica; no model.

    Beside it, in the same run: the same with @serve.batch, and a bare kafka-python loop. Needs a broker, at
    kafka.bootstrap_servers; `make kafka-up` starts one.
    """
    configure_logging("CRITICAL")
    prepare_ray()
    from workers.bench.host.way import run_host_bench  # Ray reads its environment when imported

    errors = Console(stderr=True)
    with stdout_kept_clean():
        result = run_host_bench(load_settings(config), events, partitions, replicas, runs, errors.print)
    show_json(result.to_dict()) if as_json else _show(result)


def _show(result: "HostResult") -> None:
    title = f"{result.events:,} events, {result.partitions} partitions, {result.replicas} replicas; {result.machine}"
    table = Table(
        "", "CPU µs a message", "worker", "replica", "messages/s here", "messages a call", "runs", title=title
    )
    for side, name in _SIDES.items():
        own = [run.cpu_us_per_message for run in result.runs if run.side == side]
        medians = (f"{result.median(side, figure):,.0f}" for figure in _FIGURES)
        table.add_row(name, *medians, ", ".join(f"{each:,.0f}" for each in own))
    parts = Table("part", "CPU µs a message", title="weir, by part")
    for part, spent in result.parts.items():
        parts.add_row(part, f"{spent:,.1f}")
    out = console()
    out.print(table)
    out.print(parts)
    memory = [statistics.median(getattr(run, name) for run in result.runs if run.side == "weir") for name in _MEMORY]
    out.print(
        f"{result.cores_for_a_gpu:.2f} cores feed one H200 at 5,000 messages/s; one core of a replica does"
        f" {result.replica_messages_per_s:,.0f}/s"
    )
    out.print(f"resident: worker {memory[0]:,.0f} MiB, replica {memory[1]:,.0f} MiB; {result.versions}")
