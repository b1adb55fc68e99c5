"""`weir verify`: the ledger of the topics, and whether the promises hold over it.

The work is done by `workers.tools.verify.verify`, and for turns by `workers.tools.verify.verify_turns`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from schemas.errors import ConfigurationError
from workers.cli.options import AsJson, Config
from workers.cli.terminal import console, plain, progress_bar, show_json
from workers.kafka.moments import milliseconds_of
from workers.settings.loading import Settings, load_settings
from workers.tools.verify.ledger import Finding, Ledger
from workers.tools.verify.turn_ledger import TurnLedger

if TYPE_CHECKING:
    from workers.tools.verify.verify import Bounds

_OFFSET = re.compile(r"(?:(?P<topic>[A-Za-z0-9._-]+):)?(?P<partition>\d{1,9}):(?P<offset>\d{1,18})")
_WHERE = "[TOPIC:]PARTITION:OFFSET"
_MEANING = {
    "P1": "every input has exactly one verdict or one dead letter",
    "P3": "no verdict where the output did not parse",
    "P7": "copies of an outcome are equal, timing aside",
    "P8": "outcomes of a partition appear in offset order",
    "once": "no outcome appears twice",
}
_TURNS_MEANING = {
    "P1": "every turn that was ended has its last verdict, and no other",
    "P3": "nothing but verdicts where they stand",
    "P7": "verdicts of one id are equal",
    "P8": "a turn's raises stand before its end",
}
_OF_TURNS = (
    "raises", "missing", "not_yet_judged", "conflicting", "unknown", "unreadable", "unequal_duplicates",
    "out_of_order", "duplicates", "rejudged", "judged_on", "outside", "skipped",
)  # fmt: skip
_FAULTS = (
    "missing", "missing_copies", "not_yet_judged", "conflicting", "unknown", "unreadable", "unparsable_with_verdict",
    "unequal_duplicates", "unmatched_copies", "out_of_order",
)  # fmt: skip
_OTHERS = ("redriven", "duplicates", "rejudged", "foreign", "outside", "removed")


class Isolation(StrEnum):
    """What is read of transactions."""

    READ_COMMITTED = "read_committed"
    READ_UNCOMMITTED = "read_uncommitted"


def verify(
    start: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            "--since",
            metavar=f"TIME|{_WHERE}",
            help="Inputs from there on: ISO 8601 (UTC if it says none), an age (90m, 12h, 7d), or an offset of each"
            " partition that shall have a bound.",
        ),
    ] = None,
    end: Annotated[
        list[str] | None,
        typer.Option("--to", "--until", metavar=f"TIME|{_WHERE}", help="Inputs before that time or offset."),
    ] = None,
    allow_tail: Annotated[
        bool, typer.Option("--allow-tail", help="Inputs that the group has not committed yet need no outcome.")
    ] = False,
    no_duplicates: Annotated[
        bool, typer.Option("--no-duplicates", help="For exactly once: equal copies are violations, too.")
    ] = False,
    isolation: Annotated[
        Isolation, typer.Option(help="Whether outcomes of open and aborted transactions count.")
    ] = Isolation.READ_COMMITTED,
    limit: Annotated[int, typer.Option(min=0, help="Ids listed of each kind.")] = 20,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Prove or refute P1, P3, P7 and P8 over the topics as they are now. Exits with 0 only if all are proven.

    With deltas.enabled, the turns of their topic, too: each that was ended has its last verdict, and no other.
    Reads the extra topics of the policy file, too. Outcomes are read to the ends of their topics, and from ten minutes
    before the time that --from names. Memory is bounded; beyond some million inputs the rest lies in a temporary file.
    """
    from workers.tools.verify.verify import verify as verify_topics  # kafka-python takes half a second
    from workers.tools.verify.verify_turns import verify_turns

    settings = load_settings(config)
    bounds, of_turns = _split(_bounds(start or [], end or []), settings)
    events: Ledger | None = None
    turns: TurnLedger | None = None
    if not settings.inputs:
        raise ConfigurationError("guard.enabled=false and deltas.enabled=false: no topic is read")
    if settings.guard.enabled:
        with progress_bar("records") as progress:
            events = verify_topics(
                settings,
                bounds,
                isolation=isolation.value,
                allow_tail=allow_tail,
                once=no_duplicates,
                limit=limit,
                progress=progress,
            )
    if settings.deltas.enabled:
        with progress_bar("frames") as progress:
            turns = verify_turns(
                settings, of_turns, isolation=isolation.value, allow_tail=allow_tail, limit=limit, progress=progress
            )
    proven = all(ledger.is_proven for ledger in (events, turns) if ledger is not None)
    if as_json:
        entry = {} if events is None else ledger_entry(events)
        show_json({**entry, "turns": turn_entry(turns), "proven": proven} if turns is not None else entry)
    else:
        if events is not None:
            _show(events)
        if turns is not None:
            show_turns(turns)
    raise typer.Exit(int(not proven))


def ledger_entry(ledger: Ledger) -> dict[str, Any]:
    """The ledger as JSON shows it."""
    return {"proven": ledger.is_proven, "closed": ledger.is_closed, "promises": ledger.promises, **asdict(ledger)}


def turn_entry(ledger: TurnLedger) -> dict[str, Any]:
    """The ledger of turns as JSON shows it."""
    return {"proven": ledger.is_proven, "promises": ledger.promises, **asdict(ledger)}


def _split(bounds: "Bounds", settings: Settings) -> tuple["Bounds", "Bounds"]:
    """Those of events, and those of deltas: offsets by topic, where there are both."""
    topic, is_alone = settings.topics.deltas, not settings.guard.enabled

    def of(offsets: Mapping[tuple[str | None, int], int], *, deltas: bool) -> dict[tuple[str | None, int], int]:
        return {key: at for key, at in offsets.items() if (key[0] == topic or (is_alone and key[0] is None)) == deltas}

    events, turns = (
        replace(bounds, start=of(bounds.start, deltas=deltas), end=of(bounds.end, deltas=deltas))
        for deltas in (False, True)
    )
    return events, turns


def _bounds(start: list[str], end: list[str]) -> "Bounds":
    from workers.tools.verify.verify import Bounds

    since_ms, first = _bound(start, "--from")
    until_ms, last = _bound(end, "--to")
    return Bounds(since_ms, until_ms, first, last)


def _bound(texts: list[str], option: str) -> tuple[int | None, dict[tuple[str | None, int], int]]:
    """One time at most, and offsets by partition."""
    moments: list[int] = []
    offsets: dict[tuple[str | None, int], int] = {}
    for text in texts:
        # A time of day looks like an offset of a topic named after the date; what can be a time is one.
        try:
            moments.append(milliseconds_of(text))
        except ValueError:
            if (match := _OFFSET.fullmatch(text)) is None:
                raise typer.BadParameter(
                    f"{text}: neither {_WHERE} nor a time: an age (90m, 12h, 7d) or ISO 8601", param_hint=option
                ) from None
            offsets[match["topic"], int(match["partition"])] = int(match["offset"])
    if len(moments) > 1:
        raise typer.BadParameter("only one time can be given", param_hint=option)
    return (moments[0] if moments else None), offsets


def show_turns(ledger: TurnLedger) -> None:
    """The ledger of turns as a terminal shows it."""
    counts = asdict(ledger)
    _show_promises(ledger.promises, _TURNS_MEANING, ledger.findings)
    listed = [f"{counts[name]} {name.replace('_', ' ')}" for name in _OF_TURNS if counts[name]]
    line = f"{ledger.turns} turns, {ledger.ended} ended, {ledger.open} open, {ledger.dead_letters} dead letters"
    console().print(f"turns {'proven' if ledger.is_proven else 'open'}: {', '.join([line, *listed])}")


def _show_promises(promises: Mapping[str, bool], meaning: Mapping[str, str], findings: Iterable[Finding]) -> None:
    out = console()
    table = Table("promise", "", "")
    for promise, holds in promises.items():
        table.add_row(promise, "proven" if holds else "[bold red]refuted[/]", meaning[promise])
    out.print(table)
    for finding in findings:
        out.print(escape(plain(f"{finding.kind}: {finding.record_id}: {finding.detail}")))


def _show(ledger: Ledger) -> None:
    out = console()
    counts = asdict(ledger)
    _show_promises(ledger.promises, _MEANING, (*ledger.notes, *ledger.findings))
    listed = [f"{counts[name]} {name.replace('_', ' ')}" for name in (*_FAULTS, *_OTHERS) if counts[name]]
    state = "closed" if ledger.is_closed else "open"
    line = (
        f"{ledger.inputs} in, {ledger.verdicts} verdicts, {ledger.dead_letters} dead letters, {ledger.skipped} skipped"
    )
    out.print(f"ledger {state}: {', '.join([line, *listed])}")
    if ledger.removed and ledger.missing:
        out.print("what retention or a purge has removed from the outcome topics counts as missing; see --from")
