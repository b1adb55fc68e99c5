"""Shows what `weir bench stream --tracing` measured."""

import statistics

from rich.table import Table

from workers.bench.stream.tracing import TraceBenchResult
from workers.cli.terminal import console

NAMES = {
    "off": "off",
    "one_percent": "1 % sampled",
    "all": "all sampled",
    "one_percent_stalled": "1 %, collector stalled",
    "one_percent_stopped": "1 %, collector gone",
}


def show_tracing(result: TraceBenchResult) -> None:
    """The sides, what those cost that trace, and whether their spans arrived where somebody took them."""
    title = f"{result.events} events, {result.partitions} partitions; {result.machine}"
    table = Table("tracing", "events/s, median", "cost", "messages without spans", "runs", title=title)
    for side, rates in result.rates.items():
        cost = "" if side == "off" else f"{result.cost(side):.1%}"
        runs = ", ".join(f"{rate:,.0f}" for rate in rates)
        table.add_row(NAMES[side], f"{statistics.median(rates):,.0f}", cost, str(result.lost.get(side, "")), runs)
    console().print(table)
