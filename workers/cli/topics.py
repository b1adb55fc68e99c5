"""`weir topics`: what topics are needed, what differs, and creating or changing them.

The work is done by `workers.kafka.topics`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from workers.cli.options import AsJson, Config
from workers.cli.terminal import console, show_json
from workers.settings.loading import load_settings

if TYPE_CHECKING:
    from workers.kafka.topics import TopicPlan

app = typer.Typer(no_args_is_help=True)
Partitions = Annotated[int, typer.Option("--partitions", min=1, help="Partitions of each topic.")]
Replication = Annotated[
    int | None, typer.Option("--replication", min=1, help="Copies of each topic; 3, or the number of brokers if less.")
]
Growth = Annotated[bool, typer.Option("--allow-partition-growth", help="Add partitions where there are fewer.")]


@app.command()
def plan(
    partitions: Partitions = 12,
    replication: Replication = None,
    allow_growth: Growth = False,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if anything differs.")] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Show which topics are missing or differ. Changes nothing."""
    from workers.kafka.topics import plan_topics  # kafka-python takes half a second

    settings = load_settings(config)
    plans = plan_topics(settings, partitions=partitions, replication=replication, allow_growth=allow_growth)
    if as_json:
        show_json({"topics": [_entry(item) for item in plans]})
    else:
        _show(plans)
    raise typer.Exit(int(check and any(item.status != "fine" for item in plans)))


@app.command()
def apply(
    partitions: Partitions = 12,
    replication: Replication = None,
    allow_growth: Growth = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Show the difference, then create and change topics. Exits with 1 if a difference is left."""
    from workers.kafka.topics import apply_plans, plan_topics  # kafka-python takes half a second

    settings = load_settings(config)
    plans = plan_topics(settings, partitions=partitions, replication=replication, allow_growth=allow_growth)
    if not as_json:
        _show(plans)
    apply_plans(settings, plans)
    changed = [item.wanted.name for item in plans if item.changes]
    left = [item.wanted.name for item in plans if item.left]
    if as_json:
        show_json({"topics": [_entry(item) for item in plans], "changed": changed, "left": left})
    else:
        console().print(f"changed: {', '.join(changed) or 'nothing'}" + (f"; left: {', '.join(left)}" if left else ""))
    raise typer.Exit(int(bool(left)))


def _entry(item: "TopicPlan") -> dict[str, Any]:
    wanted, found = item.wanted, item.found
    return {
        "topic": wanted.name,
        "role": wanted.role,
        "status": item.status,
        "changes": item.changes,
        "left": list(item.left),
        "partitions": {"found": found.partitions if found else None, "wanted": wanted.partitions},
        "replication": {"found": found.replication if found else None, "wanted": wanted.replication},
    }


def _show(plans: "Sequence[TopicPlan]") -> None:
    table = Table("topic", "role", "status", "change", "left as it is")
    for item in plans:
        table.add_row(item.wanted.name, item.wanted.role, item.status, "\n".join(item.changes), "\n".join(item.left))
    console().print(table)
