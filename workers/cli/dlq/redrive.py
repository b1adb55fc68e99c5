"""`weir dlq redrive`: dead letters back onto the topics that they came from.

The work is done by `workers.tools.dead_letters.redrive.redrive`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from workers.cli.option_objects import with_objects
from workers.cli.options import AsJson, Config, LetterOptions, OfTopic, load_for
from workers.cli.terminal import console, plain, progress_bar, show_json

if TYPE_CHECKING:
    from workers.tools.dead_letters.redrive.redrive import RedriveReport


@dataclass(frozen=True)
class _RedriveOptions:
    """How letters are put back."""

    to: Annotated[
        str | None, typer.Option("--to", metavar="TOPIC", help="Put them there, not where they came from.")
    ] = None
    limit: Annotated[int | None, typer.Option("--max", min=1, help="Put back so many at most.")] = None
    rate: Annotated[float | None, typer.Option("--rate", min=0.01, help="Records a second at most.")] = None
    max_redrives: Annotated[
        int, typer.Option("--max-redrives", min=1, help="A letter put back so often goes to TOPIC.parking instead.")
    ] = 3
    group: Annotated[
        str | None,
        typer.Option("--group", metavar="NAME", help="Keeps how far it has got; `kafka.group_id` + .redrive."),
    ] = None
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Forget what earlier redrives have put back, and put it back again.")
    ] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only; produce and commit nothing.")] = False


@with_objects
def redrive(
    chosen: LetterOptions,
    options: _RedriveOptions,
    topic: OfTopic = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Put dead letters back: key, value and headers as they were, and a header that counts how often.

    Works on letters of Weir and of tools that use the headers of Kafka's broker, Connect or Streams. Letters stay in
    their topic; the same command puts back what has come since, and goes on where it was interrupted. Exits with 1 if
    a letter that was asked for had to be left. Kafka forgets how far a group got a week after its last commit
    (offsets.retention.minutes): after a longer pause, give the time of the last redrive as --since.
    """
    from workers.tools.dead_letters.redrive.letters import Selection  # kafka-python takes half a second
    from workers.tools.dead_letters.redrive.redrive import RedriveOrder
    from workers.tools.dead_letters.redrive.redrive import redrive as redrive_letters

    settings = load_for(config, topic)
    order = RedriveOrder(
        selection=Selection(chosen.filters(), options.to),
        group=options.group,
        limit=options.limit,
        rate=options.rate,
        max_redrives=options.max_redrives,
        from_start=options.from_start,
        dry_run=options.dry_run,
    )
    with progress_bar("dead letters") as progress:
        report = redrive_letters(settings, order, progress)
    if as_json:
        show_json(_entry(report))
    else:
        _show(report)
    raise typer.Exit(int(bool(report.left) and not options.dry_run))


def _entry(report: "RedriveReport") -> dict[str, Any]:
    from workers.tools.dead_letters.redrive.routes import Fate

    rows = sorted(report.by_cause.items(), key=lambda row: -sum(row[1].values()))
    return {
        "topic": report.topic,
        "group": report.group,
        "dry_run": report.is_dry,
        "complete": report.is_complete,
        **{fate.value: getattr(report, fate) for fate in Fate},
        "not_remembered": report.not_remembered,
        "by_cause": [
            {
                "family": cause.family,
                "reason": cause.reason or None,
                "stage": cause.stage or None,
                "source_topic": cause.topic or None,
                **{fate.value: counts.get(fate, 0) for fate in Fate if fate is not Fate.SKIPPED},
            }
            for cause, counts in rows
        ],
        "by_target": report.by_target,
        "why_left": report.why_left,
        "left_letters": [{"dead_letter": item.dead_letter, "why": item.why} for item in report.left_letters],
    }


def _show(report: "RedriveReport") -> None:
    out, entry = console(), _entry(report)
    titles = ("would be put back", "would be parked") if report.is_dry else ("put back", "parked")
    table = Table("written by", "reason", "stage", "source topic", *titles, "left", "earlier")
    for row in entry["by_cause"]:
        table.add_row(*(escape(plain("" if value is None else str(value))) for value in row.values()))
    if entry["by_cause"]:
        out.print(table)
    for item in report.left_letters:
        out.print(escape(plain(f"left: {item.dead_letter}: {item.why}")))
    more = report.left - len(report.left_letters)
    if more > 0:
        out.print(f"left: {more} more")
    if report.not_remembered:
        out.print(
            f"{report.not_remembered} of these are too many to be remembered: only --from-start looks at them again"
        )
    targets = ", ".join(f"{plain(topic)} {count}" for topic, count in report.by_target.items())
    counts = [f"{report.put_back} {titles[0]}", f"{report.parked} {titles[1]}", f"{report.left} left"]
    counts += [f"{report.earlier} by an earlier redrive"] if report.earlier else []
    counts += [f"{report.skipped} not asked for"] if report.skipped else []
    counts += [] if report.is_complete else ["stopped at --max"]
    out.print(escape(f"{', '.join(counts)}{f' ({targets})' if targets else ''}"))
