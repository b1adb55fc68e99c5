"""Writes infra/docs/commands.md from the command line itself; `make fmt` runs it, a test compares it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from workers.cli.app import app

PAGE = Path(__file__).with_name("docs") / "commands.md"
_WIDTH = 100
_HEAD = """\
# Commands

Written by `infra/commands_page.py` from `workers/cli/`; do not edit. It is what `--help` prints.

Commands that print a result take `--json`. The exit code is 0 only on success, 1 where something was found or failed, 2
for a wrong setting or option, 3 where a run ended with no verdict at all. `weir bench engine --help` needs PyTorch, and
is not here.

"""


def commands_page() -> str:
    """The page, in Markdown."""
    sections = [f"## {path}\n\n```text\n{text}\n```\n" for path, text in _helps("weir", typer.main.get_command(app))]
    return _HEAD + "\n".join(sections)


def _helps(path: str, command: Any) -> Iterator[tuple[str, str]]:
    context = command.context_class(command, info_name=path, terminal_width=_WIDTH, max_content_width=_WIDTH)
    if command.get_help_option(context) is not None:
        yield path, "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    for name in getattr(command, "commands", ()):
        yield from _helps(f"{path} {name}", command.commands[name])


if __name__ == "__main__":
    PAGE.write_text(commands_page(), encoding="utf-8")
