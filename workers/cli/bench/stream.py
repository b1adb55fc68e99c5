"""`weir bench stream` and `weir bench stall`: one stream worker whose guard answers at once, or never.

The measuring is done in `workers.bench.stream`.
"""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from workers.cli.options import AsJson, Config
from workers.cli.terminal import console, plain, show_json
from workers.settings.loading import Settings, load_settings
from workers.telemetry.log import configure_logging

if TYPE_CHECKING:
    from workers.bench.stream.peers.comparison import PeerBenchResult
    from workers.bench.stream.throughput import StreamBenchResult
    from workers.bench.stream.tracing import TraceBenchResult

_SIDES = {"exactly_once": "weir, exactly once", "bare": "bare kafka-python loop"}
_TRACINGS = {
    "off": "off",
    "one_percent": "1 % sampled",
    "all": "all sampled",
    "one_percent_stalled": "1 %, collector stalled",
    "one_percent_stopped": "1 %, collector gone",
}


class _Plan(NamedTuple):
    """What all sides are measured with."""

    settings: Settings
    events: int
    partitions: int
    runs: int


def stream(
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
    if peers_dir is not None and not peers:
        raise typer.BadParameter("only with --peers", param_hint="--peers-dir")
    if peers and tracing:
        raise typer.BadParameter("not with --peers", param_hint="--tracing")
    configure_logging("CRITICAL")  # what a broker that is not there makes the clients say in many lines, one says
    plan = _Plan(load_settings(config), events, partitions, runs)
    from workers.kafka.errors import kafka_faults  # kafka-python takes half a second

    with kafka_faults(plan.settings.kafka):
        if peers:
            _beside_peers(plan, peers_dir, as_json=as_json)
        elif tracing:
            _traced(plan, as_json=as_json)
        else:
            _alone(plan, as_json=as_json)


def _alone(plan: _Plan, *, as_json: bool) -> None:
    from workers.bench.stream.throughput import run_stream_bench  # kafka-python takes half a second

    result = run_stream_bench(*plan, _tell())
    show_json(result.to_dict()) if as_json else _show(result)


def _beside_peers(plan: _Plan, folder: Path | None, *, as_json: bool) -> None:
    from workers.bench.stream.peers.comparison import run_peer_bench
    from workers.bench.stream.peers.environments import CACHE

    result = run_peer_bench(*plan, folder or CACHE, _tell())
    show_json(result.to_dict()) if as_json else _show_peers(result)
    raise typer.Exit(int(not result.is_good))


def _traced(plan: _Plan, *, as_json: bool) -> None:
    from workers.bench.stream.tracing import run_trace_bench

    result = run_trace_bench(*plan, _tell())
    show_json(result.to_dict()) if as_json else _show_tracing(result)


def _tell() -> Callable[[str], None]:
    """Prints a line on stderr."""
    errors = Console(stderr=True)
    return lambda text: errors.print(text)


def _show(result: "StreamBenchResult") -> None:
    title = f"{result.events} events, {result.partitions} partitions; {result.machine}"
    table = Table("", "events/s, median", "runs", title=title)
    sides = {"weir": result.weir, "exactly_once": result.exactly_once, "bare": result.bare}
    for side, rates in sides.items():
        table.add_row(_SIDES.get(side, side), f"{statistics.median(rates):,.0f}", _listed(rates))
    out = console()
    out.print(table)
    out.print(
        f"weir over the bare loop {result.ratio:.2f}, exactly once over at least once {result.exactly_once_ratio:.2f}"
    )


def _listed(rates: Sequence[float]) -> str:
    return ", ".join(f"{rate:,.0f}" for rate in rates)


def _show_peers(result: "PeerBenchResult") -> None:
    """A row for each side; below, what each ran on, or why it has no figure."""
    title = f"{result.events} events, {result.partitions} partitions; {result.machine}"
    table = Table("", "events/s, median", "runs", "duplicates", "bytes a result", title=title)
    for side in result.sides:
        median = "-" if side.median is None else f"{side.median:,.0f}"
        table.add_row(
            _SIDES.get(side.name, side.name),
            median,
            _listed(side.rates),
            f"{side.duplicates:,}",
            f"{side.value_bytes:,.0f}",
        )
    out = console()
    out.print(table)
    for side in result.sides:
        ran_on = f"{side.versions}; {side.lacks}" if side.lacks else side.versions
        out.print(escape(plain(side.not_installed or f"{_SIDES.get(side.name, side.name)}: {side.problem or ran_on}")))
    if result.ratio is not None and result.best_peer is not None:
        out.print(f"weir over {result.best_peer.name}, the best of the peers: {result.ratio:.2f}")


def _show_tracing(result: "TraceBenchResult") -> None:
    """The sides, what those cost that trace, and whether their spans arrived where somebody took them."""
    title = f"{result.events} events, {result.partitions} partitions; {result.machine}"
    table = Table("tracing", "events/s, median", "cost", "messages without spans", "runs", title=title)
    for side, rates in result.rates.items():
        cost = "" if side == "off" else f"{result.cost(side):.1%}"
        table.add_row(
            _TRACINGS[side], f"{statistics.median(rates):,.0f}", cost, str(result.lost.get(side, "")), _listed(rates)
        )
    console().print(table)


def stall(
    events: Annotated[int, typer.Option(min=1_000, help="Backlog.")] = 1_000_000,
    seconds: Annotated[int, typer.Option(min=1, help="How long to watch.")] = 30,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Memory of a worker whose guard never answers, in front of a long backlog."""
    from workers.bench.stream.stall import run_stall  # kafka-python takes half a second

    configure_logging("ERROR")
    result = run_stall(load_settings(config), events, seconds, _tell())
    if as_json:
        show_json(result.to_dict())
        return
    out = console()
    out.print(f"backlog {result.events:,} events, in flight {result.in_flight:,}; {result.machine}")
    out.print(f"resident MiB: {result.before} before, {result.full} when full, then each second:")
    out.print(" ".join(f"{value:.1f}" for value in result.after))
