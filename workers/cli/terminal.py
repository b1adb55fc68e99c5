"""What commands print: JSON or tables on stdout, progress on stderr where a person looks at it.

Never prints text from outside with its control characters.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_PIPE_WIDTH = 200
NOTHING_JUDGED = 3
"""Exit code of a run that ended in order with no verdict at all."""
_UNPRINTABLE = re.compile(r"[^\n -~]")


def show_json(content: Any) -> None:
    """Print one JSON document; see `show_json_text`."""
    show_json_text(json.dumps(content, indent=2, ensure_ascii=False))


def show_line(content: Any) -> None:
    """Print one JSON object on a line of its own; see `show_json_text`."""
    show_json_text(json.dumps(content, ensure_ascii=False))


def show_json_text(text: str) -> None:
    """Print JSON that is written already. What a terminal would obey or hide, as C1 controls and direction marks, is
    escaped, which changes no value.
    """
    typer.echo(harmless(text))


def harmless(text: str) -> str:
    """JSON with its unprintable characters as JSON's own escapes."""
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], text)


def console() -> Console:
    """Stdout for tables; wide where no terminal limits it, so that a reader's lines are not broken."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def plain(text: str) -> str:
    """Text with unprintable characters, except line breaks, as escapes: a terminal would obey them."""
    return "".join(
        character if character.isprintable() or character == "\n" else character.encode("unicode_escape").decode()
        for character in text
    )


def time_of(milliseconds: int) -> str:
    """RFC 3339, UTC."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):  # a record's timestamp is its producer's word
        return f"{milliseconds} ms"


@contextmanager
def progress_bar(title: str, *, quiet: bool = False) -> Iterator[Callable[[int, int | None], None]]:
    """Yield what takes done and total; a bar on stderr if that is a terminal."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=quiet or not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def stdout_kept_clean() -> Iterator[None]:
    """Keep stdout for the report that follows: Ray prints the end of its own controller there as a warning."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield
