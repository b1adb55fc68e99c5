"""`weir dlq purge`: deletes dead letters, after asking.

The work is done by `workers.tools.dead_letters.purge`.
"""

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.errors import ConfigurationError
from workers.cli.options import AsJson, Config, OfTopic, load_for, time_option
from workers.cli.terminal import plain, progress_bar, show_json

if TYPE_CHECKING:
    from workers.kafka.reader import OffsetRanges
    from workers.tools.dead_letters.dead_letters import Histogram

_OFFSET = re.compile(r"(\d{1,9}):(\d{1,18})")


def purge(
    everything: Annotated[bool, typer.Option("--all", help="All that are there now.")] = False,
    before: Annotated[
        int | None,
        typer.Option(
            "--before",
            parser=time_option,
            metavar="TIME",
            help="Those written before: ISO 8601 (UTC if it says none), or an age: 90m, 12h, 7d.",
        ),
    ] = None,
    before_offset: Annotated[
        list[str] | None,
        typer.Option(
            "--before-offset", metavar="PARTITION:OFFSET", help="Those of a partition before an offset; repeatable."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go, and delete nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    topic: OfTopic = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Delete dead letters for good; asks first. Letters that are written meanwhile stay.

    Of a letter that is gone `weir verify` finds the event without an outcome: give it --since from then on.
    """
    if (everything, before is not None, bool(before_offset)).count(True) != 1:
        raise ConfigurationError("give one of --all, --before and --before-offset")
    from workers.tools.dead_letters.purge import count_letters, plan_purge  # kafka-python takes half a second
    from workers.tools.dead_letters.purge import purge as purge_letters

    settings = load_for(config, topic)
    name = settings.topics.dead_letters
    ranges = plan_purge(settings, before_ms=before, before_offsets=_offsets(before_offset) if before_offset else None)
    counted = None
    if dry_run or not yes:
        with progress_bar("dead letters") as progress:
            counted = count_letters(settings, ranges, progress)
    if not (dry_run or yes) and ranges:
        _ask(name, ranges, counted)
    if not dry_run:
        purge_letters(settings, ranges)
    if as_json:
        show_json(_entry(name, ranges, counted, dry_run=dry_run))
        return
    typer.echo(f"{'would be ' if dry_run else ''}deleted of {name}: {_described(ranges, counted)}")


def _ask(topic: str, ranges: "OffsetRanges", counted: "Histogram | None") -> None:
    typer.echo(f"to be deleted of {topic}, for good: {_described(ranges, counted)}", err=True)
    typer.confirm("Delete them?", abort=True, err=True)


def _offsets(texts: list[str]) -> dict[int, int]:
    offsets = {}
    for text in texts:
        match = _OFFSET.fullmatch(text)
        if match is None:
            raise ConfigurationError(f"--before-offset {text}: not PARTITION:OFFSET")
        offsets[int(match[1])] = int(match[2])
    return offsets


def _entry(topic: str, ranges: "OffsetRanges", counted: "Histogram | None", *, dry_run: bool) -> dict[str, Any]:
    from workers.kafka.reader import offsets_in

    entry: dict[str, Any] = {
        "topic": topic,
        "dry_run": dry_run,
        "offsets": offsets_in(ranges),
        "partitions": [
            {"partition": partition.number, "from": offsets.start, "before": offsets.end}
            for partition, offsets in ranges.items()
        ],
    }
    if counted is not None:
        entry["by_reason"] = {reason.value: tally.count for reason, tally in counted.by_reason.items()}
        entry["foreign"] = counted.foreign
    return entry


def _described(ranges: "OffsetRanges", counted: "Histogram | None") -> str:
    from workers.kafka.reader import offsets_in

    which = ", ".join(
        f"{partition.number}:{offsets.start} to {offsets.end - 1}" for partition, offsets in ranges.items()
    )
    what = f"{offsets_in(ranges)} offsets ({which})" if ranges else "nothing"
    if counted is None or not ranges:
        return what
    reasons = [f"{reason} {tally.count}" for reason, tally in counted.by_reason.items()]
    reasons += [f"foreign {counted.foreign}"] if counted.foreign else []
    return plain(f"{what}; {', '.join(reasons)}")
