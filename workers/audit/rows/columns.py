"""Which column holds which field: as given on the command line or in a file, or by the names that a preset knows.

Reads no rows.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import yaml

from pipelines.strict_yaml import loaded
from schemas.errors import ConfigurationError
from schemas.suggestion import did_you_mean
from workers.audit.rows.blocks import Surveyed
from workers.audit.rows.presets import FIELDS, PLAIN, Preset, Turns


class Columns(NamedTuple):
    """Columns by field, the one that a sample is stratified by, and which turns of a row are judged.

    `instead` are further columns of a field, of which the first that a row has counts: programs of two years write one
    log, and their names differ.
    """

    by_field: dict[str, str]
    stratum: str | None = None
    turns: Turns = "last"
    instead: Mapping[str, tuple[str, ...]] = {}

    @property
    def wanted(self) -> tuple[str, ...]:
        """The columns to read, each once, in a fixed order."""
        names = (name for field in self.by_field for name in self.of(field))
        return tuple(dict.fromkeys((*names, *([self.stratum] if self.stratum else []))))

    def of(self, field: str) -> tuple[str, ...]:
        """The columns of a field, in order."""
        return (self.by_field[field], *self.instead.get(field, ()))

    @property
    def mapping(self) -> dict[str, str]:
        """Columns by field, as a manifest shows them."""
        return {field: " | ".join(self.of(field)) for field in self.by_field}

    @classmethod
    def resolve(
        cls,
        given: Mapping[str, str],
        files: Sequence[Surveyed],
        stratum: str | None,
        preset: Preset = PLAIN,
        turns: Turns = "last",
    ) -> Self:
        """What is given, completed from the columns that the files have, all of their rows together.

        A column that only some of them have is null in the others.

        Raises:
            ConfigurationError: a field that is not known; a column that no row has, or that a file has twice; nothing
                to judge in a file.
        """
        if unknown := set(given) - set(FIELDS):
            name = min(unknown)
            meant = did_you_mean(name, FIELDS)
            raise ConfigurationError(f"mapping {name}: not one of {', '.join(FIELDS)}{meant}")
        if {"text", "messages"} <= set(given):
            raise ConfigurationError(f"mapping text={given['text']} and messages={given['messages']}: one of them")
        there = dict.fromkeys(name for item in files for name in item.columns)
        if not there:
            raise ConfigurationError("there is nothing to judge: no columns")
        by_field = _completed(given, there, preset)
        shown = ", ".join(list(there)[:20])
        for name in (*given.values(), *([stratum] if stratum else [])):
            if name not in there:
                meant = did_you_mean(name, there)
                raise ConfigurationError(f"{_named(files)}: no column {name!r}; there are {shown}{meant}")
        if not {"text", "messages"} & set(by_field):
            raise ConfigurationError(
                f"{_named(files)}: nothing to judge: map text or messages to one of {list(there)[:20]}"
            )
        if turns != "last" and not {"messages", "answer"} & set(by_field):
            raise ConfigurationError(f"--turns {turns}: a row is one message; there is no column of messages")
        by_field = {field: by_field[field] for field in FIELDS if field in by_field}
        instead = {
            field: names
            for field, taken in by_field.items()
            if field not in given
            and (names := tuple(name for name in preset.columns[field] if name in there and name != taken))
        }
        columns = cls(by_field, stratum, turns, instead)
        for item in files:
            columns.refuse_unfit(item)
        return columns

    def refuse_unfit(self, item: Surveyed) -> None:
        """Refuse a file whose rows these columns cannot be read from.

        Raises:
            ConfigurationError: it has a column twice, or nothing to judge.
        """
        if doubled := set(item.doubled) & set(self.wanted):
            raise ConfigurationError(f"{item.found.uri}: has the column {min(doubled)!r} twice")
        judged = {name for field in ("text", "messages") if field in self.by_field for name in self.of(field)}
        if item.columns and item.taken.rows > item.taken.malformed and not judged & set(item.columns):
            raise ConfigurationError(
                f"{item.found.uri}: nothing to judge: no column {min(judged)!r}; there are"
                f" {', '.join(item.columns[:20])}"
            )


def _named(files: Sequence[Surveyed]) -> str:
    return files[0].found.uri if len(files) == 1 else f"{files[0].found.uri} and {len(files) - 1} more"


def _completed(given: Mapping[str, str], there: Collection[str], preset: Preset) -> dict[str, str]:
    """What is given, and the columns that have a field's usual name.

    Both text and messages, if there are both and neither is given: files of two years may differ in that.
    """
    taken = {
        field: next(name for name in names if name in there)
        for field, names in preset.columns.items()
        if field not in given and any(name in there for name in names)
    }
    if "messages" in given:
        taken.pop("text", None)
    if "text" in given:
        taken.pop("messages", None)
    return {**given, **taken}


def read_mapping(path: Path) -> dict[str, str]:
    """A mapping file: YAML, column by field.

    Raises:
        ConfigurationError: it cannot be read, is something else, or gives a field twice.
    """
    try:
        with path.open("rb") as stream:
            content = loaded(stream)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not all(isinstance(part, str) for item in content.items() for part in item):
        raise ConfigurationError(f"{path}: not a mapping of fields to columns")
    return content
