"""Shows what `weir bench stream --tracing` measured."""

import statistics

from rich.table import Table

from workers.commands.terminal import console
from workers.stream.trace_bench import TraceBenchResult


def show_tracing(result: TraceBenchResult) -> None:
    """The three sides, what the two that trace cost, and whether their spans arrived."""
    title = f"{result.events} events, {result.partitions} partitions; {result.machine}"
    table = Table("tracing", "events/s, median", "cost", "messages without spans", "runs", title=title)
    sides = (
        ("off", result.off, None),
        ("1 % sampled", result.one_percent, "one_percent"),
        ("all sampled", result.all, "all"),
    )
    for name, rates, side in sides:
        told = ("", "") if side is None else (f"{result.cost(rates):.1%}", str(result.lost[side]))
        runs = ", ".join(f"{rate:,.0f}" for rate in rates)
        table.add_row(name, f"{statistics.median(rates):,.0f}", *told, runs)
    console().print(table)
