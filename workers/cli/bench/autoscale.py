"""`weir bench autoscale`: the table of autoscaling policies on simulated days of traffic.

The simulating is done in `workers.bench`.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated

import typer
from rich.table import Table

from workers.cli.options import AsJson
from workers.cli.terminal import console, progress_bar, show_json
from workers.settings.loading import prepare_ray


def autoscale(
    days: Annotated[int, typer.Option(min=1, help="Days of traffic.")] = 7,
    seed: Annotated[int, typer.Option(help="Of the traffic.")] = 1,
    scenario: Annotated[
        list[str] | None, typer.Option(help="usual, rough, slow start or small; give several. Default: all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Seconds behind and GPU hours of our autoscaling, of Ray Serve's default, of a lag threshold, of a clairvoyant.

    No cluster and no GPU: a deterministic simulation, with up to 200 replicas. --json has each minute of each run.
    """
    prepare_ray()
    from workers.bench.scaling.scaling import compare, scenarios  # Ray reads its environment when imported

    found = []
    known = {each.name: each for each in scenarios(days)}
    if unknown := set(scenario or ()) - known.keys():
        raise typer.BadParameter(f"{min(unknown)}: not one of {', '.join(known)}", param_hint="--scenario")
    chosen = [known[name] for name in scenario or known]
    with progress_bar("runs") as bar:
        for number, each in enumerate(chosen):
            found.append(compare(each, seed, partial(_advance, bar, number, len(chosen))))
    if as_json:
        show_json({"days": days, "seed": seed, "comparisons": [comparison.to_dict() for comparison in found]})
        return
    for comparison in found:
        names = [
            "",
            "GPU hours",
            "over clairvoyant",
            "ours is under it by",
            "within target",
            "p99.9 s",
            "worst s",
            "changes",
        ]
        table = Table(*names, title=f"{comparison.scenario}; the work itself: {comparison.work_hours:,.0f} GPU hours")
        for side in comparison.sides:
            run = side.run
            name = side.policy if side.detail is None else f"{side.policy} ({side.detail:g})"
            table.add_row(
                name,
                f"{run.replica_hours:,.0f}",
                f"{comparison.over_clairvoyant(side):.2f}",
                f"{comparison.saved(side):.0%}",
                f"{run.within:.3%}",
                f"{run.p999_s:.0f}",
                f"{run.worst_s:.0f}",
                f"{run.changes:,}",
            )
        console().print(table)


def _advance(bar: Callable[[int, int], None], before: int, of: int, done: int, runs: int) -> None:
    bar(before * runs + done, of * runs)
