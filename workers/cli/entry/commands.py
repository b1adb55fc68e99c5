"""The commands of `weir` by name, and the group that imports one only when it is called.

All of them together take a second to import, most of it libraries that `weir --help` has no use for.
"""

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any, NamedTuple

import typer
import typer.main
from typer.core import TyperGroup


class Entry(NamedTuple):
    """Where a command, or the application of its subcommands, is found; and its line in the list of commands."""

    module: str
    attribute: str
    line: str


COMMANDS = {
    "demo": Entry("workers.cli.demo", "demo", "Run the whole path on this machine, with a tiny model."),
    "run": Entry("workers.cli.run", "run", "Moderate: event topics in, verdicts and dead letters out."),
    "serve": Entry("workers.cli.run", "serve", "Answer over HTTP, without Kafka."),
    "check": Entry("workers.cli.check", "check", "Say what of settings, broker, topics, rights and model would fail."),
    "classify": Entry("workers.cli.classify", "classify", "Judge a text, or JSONL events from stdin."),
    "verify": Entry("workers.cli.verify", "verify", "Prove or refute that nothing was lost, doubled or reordered."),
    "trace": Entry("workers.cli.trace", "trace", "Show what became of one event."),
    "top": Entry("workers.cli.top", "top", "Watch a running application."),
    "schema": Entry("workers.cli.schema", "schema", "Print the JSON Schemas and the AsyncAPI document of the topics."),
    "plan": Entry("workers.cli.plan", "plan", "Plan replicas, partitions and cost for a load."),
    "topics": Entry("workers.cli.topics", "app", "Create the topics that the settings name, or show what differs."),
    "breaker": Entry("workers.cli.breaker", "app", "See why a worker has stopped releasing, and let it go on."),
    "audit": Entry("workers.cli.audit.audit", "app", "Judge history: files or a range of a topic, with a report."),
    "shadow": Entry("workers.cli.shadow", "app", "See how a candidate compares with what was decided live."),
    "bench": Entry("workers.cli.bench.bench", "app", "Benchmarks, each beside its baseline."),
    "dlq": Entry("workers.cli.dlq.dlq", "app", "Look at dead letters, put them back, delete them."),
    "eval": Entry("workers.cli.eval.eval", "app", "Measure how well a guard judges labelled files; compare runs."),
}


class _Imported(MutableMapping[str, Any]):
    """The commands by name; one that is looked up is imported."""

    def __init__(self) -> None:
        self._imported: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._imported:
            self._imported[name] = _command(name, COMMANDS[name])
        return self._imported[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._imported[name] = command

    def __delitem__(self, name: str) -> None:
        del self._imported[name]

    def __contains__(self, name: object) -> bool:
        return name in COMMANDS

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


def _command(name: str, entry: Entry) -> Any:
    """Made by typer as a part of an application, which has the way for it that is public."""
    found = getattr(import_module(entry.module), entry.attribute)
    whole = typer.Typer(rich_markup_mode=None, add_completion=False)
    whole.callback()(_nothing)
    if isinstance(found, typer.Typer):
        whole.add_typer(found, name=name, help=entry.line)
    else:
        whole.command(name)(found)
    return typer.main.get_group(whole).commands[name]


def _nothing() -> None:
    """Makes an application a group, also where it has one command."""


class LazyGroup(TyperGroup):
    """Lists its commands without importing them."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**{**attributes, "commands": _Imported()})

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - click's signature
        """Names, in the order of `COMMANDS`."""
        return list(COMMANDS)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - click's signature
        """The list of commands that `--help` shows."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.line) for name, entry in COMMANDS.items()])
