"""`weir plan`: replicas, partitions, batch settings and cost for a load, with the working.

The arithmetic is in `pipelines.capacity.capacity`.
"""

import json
from dataclasses import asdict
from math import inf, isfinite
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from pipelines.capacity.capacity import CapacityPlan, shown
from pipelines.capacity.capacity import plan as plan_capacity
from pipelines.capacity.figures import GPUS, MEASURED, MODELS, EngineFigure
from pipelines.capacity.load import Assumptions, Workload
from schemas.errors import ConfigurationError
from schemas.event import Task
from workers.cli.options import AsJson
from workers.cli.terminal import console, plain, show_json

_MEASURED_ON = sorted({figure.gpu for figure in MEASURED})
_KEYS = set(EngineFigure._fields)


def plan(
    messages_per_second: Annotated[float, typer.Option(help="At the peak.")],
    tokens: Annotated[float, typer.Option(help="Of a conversation's own text, on average.")],
    model: Annotated[str, typer.Option(help=f"Size of Qwen3Guard-Gen: {', '.join(MODELS)}.")] = "0.6B",
    gpu: Annotated[
        str, typer.Option(help=f"{', '.join(GPUS)}; {', '.join(_MEASURED_ON)}, which is a CPU; or one of --figures.")
    ] = "h200",
    target: Annotated[float, typer.Option(help="Milliseconds for the guard to answer in, its queue included.")] = 500.0,
    task: Annotated[Task, typer.Option(help="What is judged.")] = Task.PROMPT,
    unsafe_share: Annotated[
        float, typer.Option(help="Share of verdicts other than Safe; they take a second short pass.")
    ] = 0.1,
    rate: Annotated[
        float | None, typer.Option(help="Messages/s that you have measured of one replica under this very load.")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help=f"JSON list of measured figures, each with {', '.join(EngineFigure._fields)}.")
    ] = None,
    price: Annotated[float | None, typer.Option(help="Of one GPU hour, in any currency.")] = None,
    utilisation: Annotated[float, typer.Option(help="Busy share to plan for.")] = 0.7,
    efficiency: Annotated[
        float, typer.Option(help="Share of the data sheet's dense bf16 that is reached; where nothing was measured.")
    ] = 0.4,
    overhead_ms: Annotated[float, typer.Option(help="Of a pass; where nothing was measured.")] = 5.0,
    spare: Annotated[int, typer.Option(help="Replicas that may be lost at the peak.")] = 1,
    growth: Annotated[int, typer.Option(help="Partitions for each consumer.")] = 4,
    as_json: AsJson = False,
) -> None:
    """Plan capacity for a load. Says whether a throughput was measured or only reckoned from a data sheet."""
    known: tuple[EngineFigure, ...] = MEASURED
    if figures is not None:
        known = (*_read_figures(figures), *known)
    if rate is not None:
        if not (isfinite(rate) and rate > 0):
            raise ConfigurationError(f"rate: {rate} is not a number above 0")
        known = (EngineFigure(gpu, model, None, rate, "given by --rate"), *known)
    workload = Workload(messages_per_second, tokens, target, task, unsafe_share)
    assumptions = Assumptions(utilisation, efficiency, overhead_ms, spare, growth, price)
    planned = plan_capacity(workload, model, gpu, known, assumptions)
    if as_json:
        show_json(
            {
                "workload": asdict(workload),
                "assumptions": asdict(assumptions),
                "model": model,
                "gpu": gpu,
                **asdict(planned),
            }
        )
    else:
        _show(planned, model, gpu)


def _read_figures(path: Path) -> tuple[EngineFigure, ...]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"{path}: not JSON: {type(error).__name__}") from None
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise ConfigurationError(f"{path}: not a list of objects")
    return tuple(_figure(path, number, entry) for number, entry in enumerate(content, 1))


def _figure(path: Path, number: int, entry: dict[str, Any]) -> EngineFigure:
    if set(entry) != _KEYS:
        raise ConfigurationError(f"{path}: figure {number} has not exactly {', '.join(EngineFigure._fields)}")
    figure = EngineFigure(**entry)
    for name in ("gpu", "model", "source"):
        if not isinstance(entry[name], str) or not entry[name]:
            raise ConfigurationError(f"{path}: figure {number}: {name} is not a name")
    for name in ("tokens", "messages_per_second"):
        value = entry[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < inf:
            raise ConfigurationError(f"{path}: figure {number}: {name} is not a number above 0")
    return figure


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
    table.add_row("replica seconds per million", shown(planned.replica_seconds_per_million))
    cost = planned.cost_per_million
    table.add_row("cost per million", "give --price" if cost is None else shown(cost))
    out.print(table)
    for line in planned.working:
        out.print(escape(plain(f"- {line}")))
    for name, value in planned.settings.items():
        out.print(f"{name}={value}")
