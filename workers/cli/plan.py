"""`weir plan`: replicas, partitions, batch settings and cost for a load, with the working.

The arithmetic is in `pipelines.capacity`: `capacity` for messages, `servers` for servers that run the model, and
`turns` for answers that are judged while they are written.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from pipelines.capacity.capacity import CapacityPlan, shown
from pipelines.capacity.capacity import plan as plan_capacity
from pipelines.capacity.figure_file import known_figures
from pipelines.capacity.figures import GPUS, MEASURED, MODELS, EngineFigure
from pipelines.capacity.load import Assumptions, Workload
from pipelines.capacity.servers import ServersPlan, plan_servers
from pipelines.capacity.turns import TurnLoad, TurnsPlan, plan_turns
from schemas.errors import ConfigurationError
from schemas.event import Task
from workers.cli.option_objects import with_objects
from workers.cli.options import AsJson
from workers.cli.terminal import console, plain, show_json

_MEASURED_ON = sorted({figure.gpu for figure in MEASURED})


@dataclass(frozen=True)
class _LoadOptions:
    """What is to be judged, and how soon."""

    messages_per_second: Annotated[float | None, typer.Option(help="At the peak.")] = None
    tokens: Annotated[float | None, typer.Option(help="Of a conversation's own text, on average.")] = None
    target: Annotated[float, typer.Option(help="Milliseconds for the guard to answer in, its queue included.")] = 500.0
    task: Annotated[Task, typer.Option(help="What is judged.")] = Task.PROMPT
    unsafe_share: Annotated[
        float, typer.Option(help="Share of verdicts other than Safe; they take a second short pass.")
    ] = 0.1
    asks_per_second: Annotated[float, typer.Option(help="Items over HTTP at the peak, beside the messages.")] = 0.0


@dataclass(frozen=True)
class _TurnOptions:
    """Answers that are judged while they are written, beside the messages or without."""

    answer_tokens_per_second: Annotated[
        float | None,
        typer.Option(help="Of all answers that are being written, at the peak: plans the stream guard."),
    ] = None
    turns: Annotated[int, typer.Option(help="Answers that are being written at once, at the peak.")] = 100
    before_tokens: Annotated[float, typer.Option(help="What stands before an answer, on average.")] = 200.0
    answer_tokens: Annotated[float, typer.Option(help="Of an answer, on average.")] = 300.0
    delta_tokens: Annotated[float, typer.Option(help="Of a delta.")] = 1.0
    step_ms: Annotated[
        float | None,
        typer.Option(
            help="Milliseconds that you have measured of a full step: by weir bench stream-guard, 4 times those of a"
            " token of 16 sessions with 1 token a delta."
        ),
    ] = None


@dataclass(frozen=True)
class _EngineOptions:
    """What judges, and what has been measured of it."""

    model: Annotated[str, typer.Option(help=f"Size of Qwen3Guard: {', '.join(MODELS)}.")] = "0.6B"
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
    turns: _TurnOptions,
    engine: _EngineOptions,
    servers: _ServerOptions,
    assumed: _AssumedOptions,
    as_json: AsJson = False,
) -> None:
    """Plan capacity for a load. Says whether a throughput was measured or only reckoned from a data sheet."""
    assumptions = Assumptions(**asdict(assumed))
    said: dict[str, Any] = {}
    for planned in (
        _messages(load, engine, servers, assumptions, said),
        _turns(load, turns, engine, assumptions, said),
    ):
        if planned is not None and not as_json:
            _show(planned)
    if not said:
        raise ConfigurationError("give --messages-per-second and --tokens, --answer-tokens-per-second, or all three")
    if as_json:
        show_json({"assumptions": asdict(assumptions), **said})


@dataclass(frozen=True)
class _Shown:
    """A plan for people: `rows` are its own, before those that all plans have; `each` is what it counts."""

    title: str
    rows: tuple[tuple[str, str], ...]
    each: str
    seconds: float
    what: str
    plan: CapacityPlan | ServersPlan | TurnsPlan


def _messages(
    load: _LoadOptions, engine: _EngineOptions, servers: _ServerOptions, assumptions: Assumptions, said: dict[str, Any]
) -> _Shown | None:
    """The plan for messages, if they are asked about; adds what JSON says of it."""
    if load.messages_per_second is None and load.tokens is None:
        return None
    if load.messages_per_second is None or load.tokens is None:
        raise ConfigurationError("messages_per_second and tokens: give both")
    workload = Workload(
        load.messages_per_second, load.tokens, load.target, load.task, load.unsafe_share, load.asks_per_second
    )
    said["workload"] = asdict(workload)
    if servers.server_rate is not None:
        for_servers = plan_servers(workload, servers.server_rate, servers.call_ms, assumptions)
        said |= asdict(for_servers)
        rows = (
            ("servers", f"{for_servers.servers:,}"),
            ("guard replicas", f"{for_servers.replicas:,}, without a GPU"),
            *_hosts(for_servers),
            ("calls of a replica on a server", f"{for_servers.calls:,} of {for_servers.prompts_per_call} prompts"),
        )
        seconds = for_servers.server_seconds_per_million
        return _Shown("remote engine, as measured", rows, "server", seconds, "million", for_servers)
    known = known_figures(engine.figures, engine.rate, engine.gpu, engine.model)
    planned = plan_capacity(workload, engine.model, engine.gpu, known, assumptions)
    said |= {"model": engine.model, "gpu": engine.gpu, **asdict(planned)}
    rows = (
        ("replicas", f"{planned.replicas:,}"),
        *_hosts(planned),
        ("messages/s of a replica", shown(planned.messages_per_second_per_replica)),
        ("batch", f"{planned.batch_size:,} messages, {shown(planned.batch_ms)} ms"),
    )
    title = _title(engine, is_measured=planned.measured)
    return _Shown(title, rows, "replica", planned.replica_seconds_per_million, "million", planned)


def _turns(
    load: _LoadOptions, turns: _TurnOptions, engine: _EngineOptions, assumptions: Assumptions, said: dict[str, Any]
) -> _Shown | None:
    """The plan for answers that are being written, as `_messages`."""
    if turns.answer_tokens_per_second is None:
        return None
    written = TurnLoad(
        turns.answer_tokens_per_second,
        turns.turns,
        turns.before_tokens,
        turns.answer_tokens,
        turns.delta_tokens,
        load.target,
    )
    planned = plan_turns(written, engine.model, engine.gpu, turns.step_ms, assumptions)
    said["stream"] = {"workload": asdict(written), "model": engine.model, "gpu": engine.gpu, **asdict(planned)}
    gigabytes = planned.pages * planned.page_bytes / 1e9
    rows = (
        ("stream guard replicas", f"{planned.replicas:,}"),
        ("tokens/s of a replica", shown(planned.tokens_per_second_per_replica)),
        ("step", f"{shown(planned.step_ms)} ms"),
        ("sessions of a replica", f"{planned.sessions:,}"),
        ("pages of a replica", f"{planned.pages:,}, {shown(gigabytes)} GB"),
        ("replay after a death", f"up to {shown(planned.replay_seconds)} s"),
    )
    title = f"turns: {_title(engine, is_measured=planned.measured)}"
    return _Shown(title, rows, "replica", planned.replica_seconds_per_million, "million tokens", planned)


def _title(engine: _EngineOptions, *, is_measured: bool) -> str:
    return f"{engine.model} on {engine.gpu}, {'measured' if is_measured else 'reckoned, never measured'}"


def _hosts(planned: CapacityPlan | ServersPlan) -> tuple[tuple[str, str], ...]:
    """What is beside the model."""
    return (
        ("consumers", f"{planned.consumers:,}"),
        ("partitions", f"{planned.partitions:,}"),
        ("cores for the host's work", shown(planned.host_cores)),
    )


def _show(shows: _Shown) -> None:
    planned, out = shows.plan, console()
    cost = planned.cost_per_million
    table = Table("", "", title=shows.title, show_header=False)
    for row in (
        *shows.rows,
        ("latency in the guard", f"up to {shown(planned.latency_ms)} ms"),
        ("busy", f"{planned.utilisation:.0%}"),
        (f"{shows.each} seconds per {shows.what}", shown(shows.seconds)),
        (f"cost per {shows.what}", "give --price" if cost is None else shown(cost)),
    ):
        table.add_row(*row)
    out.print(table)
    for line in planned.working:
        out.print(escape(plain(f"- {line}")))
    for name, value in planned.settings.items():
        out.print(f"{name}={value}")
