"""`weir bench stream --peers`: the table of Weir beside other stream frameworks.

The measuring is done in `workers.bench.stream.peers.comparison`.
"""

from rich.markup import escape
from rich.table import Table

from workers.bench.stream.peers.comparison import PeerBenchResult, SideResult
from workers.cli.terminal import console, plain

LABELS = {"exactly_once": "weir, exactly once", "bare": "bare kafka-python loop"}


def show_peers(result: PeerBenchResult) -> None:
    """A row for each side; below, what each ran on, or why it has no figure."""
    title = f"{result.events} events, {result.partitions} partitions; {result.machine}"
    table = Table("", "events/s, median", "runs", "duplicates", "bytes a result", title=title)
    for side in result.sides:
        median = "-" if side.median is None else f"{side.median:,.0f}"
        rates = ", ".join(f"{rate:,.0f}" for rate in side.rates)
        table.add_row(_label(side), median, rates, f"{side.duplicates:,}", f"{side.value_bytes:,.0f}")
    out = console()
    out.print(table)
    for side in result.sides:
        ran_on = f"{side.versions}; {side.lacks}" if side.lacks else side.versions
        out.print(escape(plain(side.not_installed or f"{_label(side)}: {side.problem or ran_on}")))
    if result.ratio is not None and result.best_peer is not None:
        out.print(f"weir over {result.best_peer.name}, the best of the peers: {result.ratio:.2f}")


def _label(side: SideResult) -> str:
    return LABELS.get(side.name, side.name)
