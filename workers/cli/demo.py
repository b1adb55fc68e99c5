"""`weir demo`: the main job on one machine, with an embedded broker and a tiny model.

Shows what `workers.demo.run` did.
"""

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from workers.cli.options import AsJson
from workers.cli.terminal import console, progress_bar, show_json, stdout_kept_clean
from workers.cli.trace import shown_tree
from workers.cli.verify import ledger_entry, show_turns, turn_entry
from workers.settings.loading import prepare_ray
from workers.telemetry.log import configure_logging

if TYPE_CHECKING:
    from workers.demo.turns import TurnsReport

NOTICE = "The tiny model knows made-up words only. It is not a safety classifier."


def demo(
    events: Annotated[int, typer.Option(min=100, max=100_000, help="Chat events to feed.")] = 500,
    turns: Annotated[
        int, typer.Option(min=0, max=10_000, help="Answers to judge while they are written, beside the events.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Run the whole path on this machine: embedded broker, Ray Serve, a tiny model, sample chat.

    Needs no Kafka, no GPU and no network. Exits with 0 only if the ledger is closed and all ended as it should.
    """
    configure_logging("CRITICAL")
    prepare_ray()
    from workers.demo.run import run_demo  # Ray reads its environment when imported

    if not as_json:
        Console(stderr=True).print(f"{NOTICE}\nStarting takes some 20 seconds.")
    with progress_bar("demo") as bar, stdout_kept_clean():
        report = run_demo(events, lambda _step, done, total: bar(done, total), turns)
    if as_json:
        show_json(
            {
                "ledger": ledger_entry(report.ledger),
                "severities": report.severities,
                "categories": report.categories,
                "actions": report.actions,
                "dead_letters": report.reasons,
                "unexpected": report.unexpected,
                "seconds": round(report.seconds, 1),
                "example": report.example,
                "trace": report.tree.to_dict(),
                "turns": None if report.turns is None else _turns_entry(report.turns),
                "notice": NOTICE,
            }
        )
        raise typer.Exit(int(not report.is_good))
    out = console()
    _show_table(
        out, "verdicts", {"severity": report.severities, "category": report.categories, "action": report.actions}
    )
    _show_table(out, "dead letters", {"reason": report.reasons})
    out.print(f"[bold]one message's trace[/] ({report.example['severity']}, verdict {report.example['verdict_id']})")
    out.print(shown_tree(report.tree))
    if report.turns is not None:
        _show_table(out, "answers raised while they were written", {"category": report.turns.raised})
        shares = report.turns.shares or [1.0]
        out.print(f"raised by half of their text, or sooner: {sum(share <= 0.5 for share in shares)} of {len(shares)}")
        show_turns(report.turns.ledger)
    for line in report.unexpected:
        out.print(f"[bold red]unexpected[/] {line}")
    ledger = report.ledger
    state = "closed" if ledger.is_closed else "OPEN"
    out.print(
        f"[bold]ledger {state}: {ledger.inputs} in, {ledger.verdicts} verdicts, {ledger.dead_letters} dead letters,"
        f" {ledger.skipped} skipped[/]"
        f" in {report.seconds:.0f} s"
    )
    raise typer.Exit(int(not report.is_good))


def _turns_entry(turns: "TurnsReport") -> dict[str, Any]:
    shares = [round(share, 3) for share in turns.shares]
    return {"ledger": turn_entry(turns.ledger), "raised": turns.raised, "raised_at": shares}


def _show_table(out: Console, title: str, groups: dict[str, Counter[str]]) -> None:
    table = Table("", "", "count", title=title, title_justify="left")
    for group, counts in groups.items():
        for index, (name, count) in enumerate(counts.most_common()):
            table.add_row("" if index else group, name, str(count), end_section=index == len(counts) - 1)
    out.print(table)
