"""`weir verify`: the ledger of the topics, and whether the promises hold over it.

The work is done by `workers.stream.verify`.
"""

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from workers.commands.options import AsJson, Config, Since
from workers.commands.terminal import console, plain, progress_bar, show_json
from workers.settings import load_settings
from workers.stream.ledger import Ledger
from workers.stream.verify import verify as verify_topics

_MEANING = {
    "P1": "every input has exactly one verdict or one dead letter",
    "P3": "no verdict where the output did not parse",
    "P7": "copies of an outcome are equal, timing aside",
    "P8": "outcomes of a partition appear in offset order",
}


def verify(
    since: Since = None,
    allow_tail: Annotated[
        bool, typer.Option("--allow-tail", help="Inputs that the group has not committed yet need no outcome.")
    ] = False,
    limit: Annotated[int, typer.Option(min=0, help="Violations listed of each kind.")] = 20,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Prove or refute P1, P3, P7 and P8 over the topics as they are now. Exits with 0 only if all are proven.

    Takes nine bytes of memory for each input offset. With --since, outcomes are read from ten minutes earlier.
    """
    settings = load_settings(config)
    with progress_bar("records") as progress:
        ledger = verify_topics(settings, since_ms=since, allow_tail=allow_tail, limit=limit, progress=progress)
    if as_json:
        show_json(ledger_entry(ledger))
    else:
        _show(ledger)
    raise typer.Exit(int(not ledger.is_proven))


def ledger_entry(ledger: Ledger) -> dict[str, Any]:
    """The ledger as JSON shows it."""
    return {"proven": ledger.is_proven, "closed": ledger.is_closed, "promises": ledger.promises, **asdict(ledger)}


def _show(ledger: Ledger) -> None:
    out = console()
    counts = asdict(ledger)
    wrong = (
        "missing", "not_yet_judged", "conflicting", "unknown", "unreadable", "unparsable_with_verdict",
        "unequal_duplicates", "out_of_order",
    )  # fmt: skip
    table = Table("promise", "", "")
    for promise, holds in ledger.promises.items():
        table.add_row(promise, "proven" if holds else "[bold red]refuted[/]", _MEANING[promise])
    out.print(table)
    for finding in ledger.findings:
        out.print(escape(plain(f"{finding.kind}: {finding.record_id}: {finding.detail}")))
    faults = [f"{counts[name]} {name.replace('_', ' ')}" for name in wrong if counts[name]]
    others = [f"{counts[name]} {name}" for name in ("duplicates", "foreign", "outside") if counts[name]]
    state = "closed" if ledger.is_closed else "open"
    line = f"{ledger.inputs} in, {ledger.verdicts} verdicts, {ledger.dead_letters} dead letters"
    out.print(f"ledger {state}: {', '.join([line, *faults, *others])}")
