"""`weir plan`: replicas, partitions, batch settings and cost for a load, with the working.

The arithmetic is in `pipelines.capacity.capacity`, and for servers that run the model in `pipelines.capacity.servers`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from pipelines.capacity.capacity import CapacityPlan, shown
from pipelines.capacity.capacity import plan as plan_capacity
from pipelines.capacity.figure_file import known_figures
from pipelines.capacity.figures import GPUS, MEASURED, MODELS, EngineFigure
from pipelines.capacity.load import Assumptions, Workload
from pipelines.capacity.servers import ServersPlan, plan_servers
from schemas.event import Task
from workers.cli.option_objects import with_objects
from workers.cli.options import AsJson
from workers.cli.terminal import console, plain, show_json

_MEASURED_ON = sorted({figure.gpu for figure in MEASURED})


@dataclass(frozen=True)
class _LoadOptions:
    """What is to be judged, and how soon."""

    messages_per_second: Annotated[float, typer.Option(help="At the peak.")]
    tokens: Annotated[float, typer.Option(help="Of a conversation's own text, on average.")]
    target: Annotated[float, typer.Option(help="Milliseconds for the guard to answer in, its queue included.")] = 500.0
    task: Annotated[Task, typer.Option(help="What is judged.")] = Task.PROMPT
    unsafe_share: Annotated[
        float, typer.Option(help="Share of verdicts other than Safe; they take a second short pass.")
    ] = 0.1
    asks_per_second: Annotated[float, typer.Option(help="Items over HTTP at the peak, beside the messages.")] = 0.0


@dataclass(frozen=True)
class _EngineOptions:
    """What judges, and what has been measured of it."""

    model: Annotated[str, typer.Option(help=f"Size of Qwen3Guard-Gen: {', '.join(MODELS)}.")] = "0.6B"
    gpu: Annotated[
        str, typer.Option(help=f"{', '.join(GPUS)}; {', '.join(_MEASURED_ON)}, which is a CPU; or one of --figures.")
    ] = "h200"
    rate: Annotated[
        float | None, typer.Option(help="Messages/s that you have measured of one replica under this very load.")
    ] = None
    figures: Annotated[
        Path | None, typer.Option(help=f"JSON list of measured figures, each with {', '.join(EngineFigure._fields)}.")
    ] = None


@dataclass(frozen=True)
class _ServerOptions:
    """Servers that run the model, in place of GPUs of our own."""

    server_rate: Annotated[
        float | None,
        typer.Option(
            help="Messages/s that you have measured of one server under this very load: plans remote engines."
        ),
    ] = None
    call_ms: Annotated[
        float, typer.Option(help="Milliseconds that a call of 32 prompts takes there; with --server-rate.")
    ] = 200.0


@dataclass(frozen=True)
class _AssumedOptions:
    """What nobody measures."""

    price: Annotated[float | None, typer.Option(help="Of one GPU's hour, or a server's, in any currency.")] = None
    utilisation: Annotated[float, typer.Option(help="Busy share to plan for.")] = 0.7
    efficiency: Annotated[
        float, typer.Option(help="Share of the data sheet's dense bf16 that is reached; where nothing was measured.")
    ] = 0.4
    overhead_ms: Annotated[float, typer.Option(help="Of a pass; where nothing was measured.")] = 5.0
    spare: Annotated[int, typer.Option(help="Replicas that may be lost at the peak.")] = 1
    growth: Annotated[int, typer.Option(help="Partitions for each consumer.")] = 4


@with_objects
def plan(
    load: _LoadOptions,
    engine: _EngineOptions,
    servers: _ServerOptions,
    assumed: _AssumedOptions,
    as_json: AsJson = False,
) -> None:
    """Plan capacity for a load. Says whether a throughput was measured or only reckoned from a data sheet."""
    workload = Workload(
        load.messages_per_second, load.tokens, load.target, load.task, load.unsafe_share, load.asks_per_second
    )
    assumptions = Assumptions(**asdict(assumed))
    if servers.server_rate is not None:
        planned_servers = plan_servers(workload, servers.server_rate, servers.call_ms, assumptions)
        if as_json:
            show_json(
                {"workload": asdict(workload), "assumptions": asdict(assumptions), **asdict(planned_servers)},
            )
        else:
            _show_servers(planned_servers)
        return
    known = known_figures(engine.figures, engine.rate, engine.gpu, engine.model)
    planned = plan_capacity(workload, engine.model, engine.gpu, known, assumptions)
    if as_json:
        show_json(
            {
                "workload": asdict(workload),
                "assumptions": asdict(assumptions),
                "model": engine.model,
                "gpu": engine.gpu,
                **asdict(planned),
            }
        )
    else:
        _show(planned, engine.model, engine.gpu)


def _show(planned: CapacityPlan, model: str, gpu: str) -> None:
    out = console()
    state = "measured" if planned.measured else "reckoned, never measured"
    table = Table("", "", title=f"{model} on {gpu}, {state}", show_header=False)
    table.add_row("replicas", f"{planned.replicas:,}")
    table.add_row("consumers", f"{planned.consumers:,}")
    table.add_row("partitions", f"{planned.partitions:,}")
    table.add_row("messages/s of a replica", shown(planned.messages_per_second_per_replica))
    table.add_row("batch", f"{planned.batch_size:,} messages, {shown(planned.batch_ms)} ms")
    table.add_row("latency in the guard", f"up to {shown(planned.latency_ms)} ms")
    table.add_row("busy", f"{planned.utilisation:.0%}")
    table.add_row("cores for the host's work", shown(planned.host_cores))
    table.add_row("replica seconds per million", shown(planned.replica_seconds_per_million))
    cost = planned.cost_per_million
    table.add_row("cost per million", "give --price" if cost is None else shown(cost))
    out.print(table)
    _show_working(planned.working, planned.settings)


def _show_servers(planned: ServersPlan) -> None:
    table = Table("", "", title="remote engine, as measured", show_header=False)
    table.add_row("servers", f"{planned.servers:,}")
    table.add_row("guard replicas", f"{planned.replicas:,}, without a GPU")
    table.add_row("consumers", f"{planned.consumers:,}")
    table.add_row("partitions", f"{planned.partitions:,}")
    table.add_row("calls of a replica on a server", f"{planned.calls:,} of {planned.prompts_per_call} prompts")
    table.add_row("latency in the guard", f"up to {shown(planned.latency_ms)} ms")
    table.add_row("servers busy", f"{planned.utilisation:.0%}")
    table.add_row("cores for the host's work", shown(planned.host_cores))
    table.add_row("server seconds per million", shown(planned.server_seconds_per_million))
    cost = planned.cost_per_million
    table.add_row("cost per million", "give --price" if cost is None else shown(cost))
    console().print(table)
    _show_working(planned.working, planned.settings)


def _show_working(working: Iterable[str], settings: Mapping[str, str]) -> None:
    out = console()
    for line in working:
        out.print(escape(plain(f"- {line}")))
    for name, value in settings.items():
        out.print(f"{name}={value}")
