"""What the texts tell a newcomer to type and to set exists: commands with their options, make targets, settings."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

from workers.cli.app import app
from workers.settings.loading import CONFIG_VARIABLE, Settings, variable_names

ROOT = Path(__file__).parents[1]
TEXTS = sorted(
    {
        *ROOT.glob("*.md"),
        *ROOT.glob("infra/**/*.md"),
        *ROOT.glob("infra/alerts/*.yaml"),
        *ROOT.glob("helm/weir/*.md"),
        ROOT / "helm/weir/templates/NOTES.txt",
        ROOT / "helm/weir/values.yaml",
    }
)
COMMAND = re.compile(r"(?<![\w./-])weir((?: +[^`|;&>()]+)+)")
NO_SETTING = re.compile(r".*\.(md|yaml)|serve\.(batch|delete|run|shutdown)")  # files, and Ray's functions
WORD = re.compile(r"[a-z][a-z-]*")


@cache
def root() -> Any:
    return typer.main.get_command(app)


def typed(text: str) -> Iterator[list[str]]:
    """Each `weir …` of code spans and of lines of code, as its words; a comment and a placeholder end it."""
    spans = re.findall(r"`([^`\n]+)`", text.replace("```", ""))
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```", text)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"(?m)^    (weir .*)$", text)
    for code in [*spans, *lines]:
        if "helm " in code:  # there it is a release and a folder
            continue
        for found in COMMAND.finditer(code.partition(" #")[0]):
            try:
                yield shlex.split(found[1])
            except ValueError:
                yield found[1].split()


def fault(words: list[str]) -> str | None:
    """What of a command does not exist."""
    command, path = root(), ["weir"]
    rest = list(words)
    while hasattr(command, "commands") and rest and WORD.fullmatch(rest[0]):
        if rest[0] not in command.commands:
            return f"{' '.join(path)} has no {rest[0]}"
        path.append(rest.pop(0))
        command = command.commands[path[-1]]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    if command.context_settings.get("ignore_unknown_options"):
        return None
    given = [word.partition("=")[0] for word in rest if word.startswith("--")]
    wrong = [option for option in given if option not in known]
    return f"{' '.join(path)} has no {', '.join(wrong)}" if wrong else None


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_a_text_names_exists_with_its_options(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    assert [found for words in typed(text) if (found := fault(words))] == []


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_setting_that_a_text_names_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    known = {**variable_names(), CONFIG_VARIABLE: ""}
    variables = re.findall(r"\bWEIR_[A-Z0-9_]+\b", text)
    prefix = r"settings\." if "helm" in path.parts else r"(?:settings\.)?"  # the chart has values of its own
    dotted = re.findall(rf"`{prefix}((?:{'|'.join(Settings.model_fields)})\.[a-z][a-z0-9_]*)[=:`]", text)

    assert [name for name in variables if name.strip("_") not in known] == []
    assert [name for name in dotted if name not in known.values() and not NO_SETTING.fullmatch(name)] == []


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_make_target_that_a_text_names_exists(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?m)^([a-z][a-z-]*):", makefile))
    named = re.findall(r"(?m)(?:`|^)make ([a-z][a-z-]*)", path.read_text(encoding="utf-8"))

    assert set(named) <= targets


def test_a_command_or_option_that_is_not_there_is_found() -> None:
    text = "Run `weir verify --sense 24h`, `weir audits run`, `weir dlq list --reasons x`."

    assert [fault(words) for words in typed(text)] == [
        "weir verify has no --sense",
        "weir has no audits",
        "weir dlq list has no --reasons",
    ]


def test_the_texts_name_commands() -> None:
    count = sum(1 for path in TEXTS for _ in typed(path.read_text(encoding="utf-8")))

    assert count > 100
