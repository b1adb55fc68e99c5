"""Options as objects: what Typer sees of a command that takes them, and what the command is given."""

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from workers.cli.option_objects import with_objects

seen: list[object] = []


@dataclass(frozen=True)
class Filter:
    """Two options, one with a name of its own."""

    limit: Annotated[int, typer.Option("--max", min=1)] = 3
    only: Annotated[list[str] | None, typer.Option()] = None


@with_objects
def command(name: Annotated[str, typer.Argument()], chosen: Filter, loud: bool = False) -> None:
    """Say what was asked for."""
    seen.append((name, chosen, loud))


def run(*words: str) -> int:
    seen.clear()
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, words).exit_code


def test_each_field_is_an_option_with_its_default() -> None:
    assert run("x") == 0
    assert seen == [("x", Filter(3, None), False)]


def test_what_is_given_arrives_in_the_object() -> None:
    assert run("--max", "7", "--only", "a", "--only", "b", "x", "--loud") == 0
    assert seen == [("x", Filter(7, ["a", "b"]), True)]


def test_a_field_is_checked_as_an_option_is() -> None:
    assert run("x", "--max", "0") == 2
    assert seen == []
