"""`weir dlq`: dead letters by reason, or one of them; put back, or deleted; and what cannot even be read.

Shows no content of a message unless asked to. The work is done by `workers.tools.dead_letters.dead_letters`.
"""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from schemas.dead_letter import BROKER, OWN, TRACE_HEADERS
from schemas.reasons import STAGE_OF
from workers.cli.dlq import purge as dlq_purge
from workers.cli.dlq import redrive as dlq_redrive
from workers.cli.dlq import skip_batch as dlq_skip_batch
from workers.cli.option_objects import with_objects
from workers.cli.options import AsJson, Config, LetterOptions, OfTopic, load_for
from workers.cli.terminal import console, plain, progress_bar, show_json, show_line, time_of

if TYPE_CHECKING:
    from workers.tools.dead_letters.dead_letters import FoundLetter, Histogram

app = typer.Typer(no_args_is_help=True)
_SHOWN_HEADERS = (*TRACE_HEADERS, "content-type")


@app.command("list")
@with_objects
def list_letters(
    chosen: LetterOptions,
    topic: OfTopic = None,
    records: Annotated[bool, typer.Option("--records", help="One line for each, in place of counts.")] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Count dead letters by reason, or list them (as JSON: one object a line)."""
    from workers.tools.dead_letters.dead_letters import histogram, scan  # kafka-python takes half a second

    settings = load_for(config, topic)
    with progress_bar("dead letters", quiet=records) as progress:
        letters = scan(settings, chosen.filters(), progress)
        if records:
            for found in letters:
                _show_line(found, as_json=as_json)
            return
        counted = histogram(letters)
    if as_json:
        show_json({"topic": settings.topics.dead_letters, **_histogram_entry(counted)})
    else:
        _show_histogram(counted)


@app.command()
def show(
    letter: Annotated[str, typer.Argument(help="PARTITION:OFFSET, or TOPIC-PARTITION-OFFSET of it or of its source.")],
    include_value: Annotated[
        bool, typer.Option("--include-value", help="Also the message itself: key, value and all headers.")
    ] = False,
    topic: OfTopic = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Show one dead letter; for a source all of its letters."""
    from workers.tools.dead_letters.dead_letters import find  # kafka-python takes half a second

    settings = load_for(config, topic)
    with progress_bar("dead letters") as progress:
        letters = find(settings, letter, progress)
    entries = [_entry(found) | _content(found, include_value=include_value) for found in letters]
    if as_json:
        show_json(entries[0] if len(entries) == 1 else entries)
        return
    for entry in entries:
        table = Table(show_header=False)
        for name, value in entry.items():
            shown = "\n".join(f"{key}: {item}" for key, item in value.items()) if isinstance(value, dict) else value
            table.add_row(name, escape(plain(str(shown))))
        console().print(table)


app.command()(dlq_redrive.redrive)
app.command()(dlq_purge.purge)
app.command()(dlq_skip_batch.skip_batch)


def _entry(found: "FoundLetter") -> dict[str, Any]:
    record, letter = found.record, found.letter
    entry: dict[str, Any] = {
        "dead_letter": f"{record.partition}:{record.offset}",
        "written_at": time_of(record.timestamp_ms),
    }
    if letter is None:
        return {**entry, "foreign": found.fault}
    source = letter.source
    return {
        **entry,
        "source": f"{source.topic}-{source.partition}-{source.offset}",
        "reason": letter.reason,
        "stage": letter.stage,
        "detail": letter.detail,
        "attempts": letter.attempts,
        "redrive_count": letter.redrive_count,
    }


def _content(found: "FoundLetter", *, include_value: bool) -> dict[str, Any]:
    record, letter = found.record, found.letter
    content: dict[str, Any] = {}
    if letter is not None:
        own = {
            "group": letter.group,
            "first_failed_at": letter.first_failed_at,
            "model_revision": letter.model_revision,
            "prompt_sha256": letter.prompt_sha256,
            "raw_output_sha256": letter.raw_output_sha256,
            "value_dropped": letter.value_dropped,
        }
        content |= {name: value for name, value in own.items() if value not in (None, False)}
    value = record.value if letter is None else letter.value
    content["key_bytes"] = None if record.key is None else len(record.key)
    content["value_bytes"] = None if value is None else len(value)
    content["headers"] = {
        name: _text(item) if include_value or _is_ours(name) else f"{len(item or b'')} bytes"
        for name, item in record.headers
    }
    if include_value:
        content |= {"key": _text(record.key), "value": _text(value)}
    return content


def _is_ours(name: str) -> bool:
    return name.startswith((BROKER, OWN)) or name in _SHOWN_HEADERS


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")


def _show_line(found: "FoundLetter", *, as_json: bool) -> None:
    entry = _entry(found)
    if as_json:
        show_line(entry)
        return
    names = ("dead_letter", "written_at", "source", "reason", "detail")
    shown = [str(entry[name]) for name in names if name in entry]
    typer.echo(plain("  ".join([*shown, f"foreign: {entry['foreign']}"] if "foreign" in entry else shown)))


def _histogram_entry(counted: "Histogram") -> dict[str, Any]:
    rows = sorted(counted.by_reason.items(), key=lambda row: -row[1].count)
    return {
        "count": counted.count,
        "foreign": counted.foreign,
        "by_reason": [
            {
                "reason": reason,
                "stage": STAGE_OF[reason],
                "count": tally.count,
                "first_seen": time_of(tally.first_ms),
                "last_seen": time_of(tally.last_ms),
            }
            for reason, tally in rows
        ],
        "by_source_topic": counted.by_source_topic,
    }


def _show_histogram(counted: "Histogram") -> None:
    entry = _histogram_entry(counted)
    table = Table("reason", "stage", "count", "first seen", "last seen")
    for row in entry["by_reason"]:
        table.add_row(*(str(value) for value in row.values()))
    out = console()
    if counted.count:
        out.print(table)
    topics = ", ".join(f"{plain(topic)} {count}" for topic, count in counted.by_source_topic.items())
    foreign = f"; {counted.foreign} foreign records" if counted.foreign else ""
    out.print(escape(f"{counted.count} dead letters{f' of {topics}' if topics else ''}{foreign}"))
