"""What commands print is obeyed by no terminal, whatever a producer wrote into an id."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from workers.cli import terminal

CLI = Path(terminal.__file__).parent
HOSTILE = ["\x9b31m", "\x7f", "\u202e", "\u2066", "\x1b[2J", "\u2028", "\ufeff", "\ud83d", "\x00", "\U000e0041"]


@pytest.mark.parametrize("show", [terminal.show_json, terminal.show_line])
def test_json_has_no_character_that_a_terminal_obeys_and_the_same_values(
    show: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    content = {f"key {text}": [text, "grün 漢字 🙂"] for text in HOSTILE}
    show(content)
    printed = capsys.readouterr().out

    assert json.loads(printed) == content
    assert [character for character in printed if not character.isprintable() and character != "\n"] == []
    assert "grün 漢字 🙂" in printed


def test_json_is_printed_by_the_terminal_alone() -> None:
    """Or the next command forgets it."""
    printed = re.compile(r"(echo|print)\((?!\").*(json|line\.text)", re.IGNORECASE)

    assert [path.name for path in CLI.rglob("*.py") if printed.search(path.read_text(encoding="utf-8"))] == []
