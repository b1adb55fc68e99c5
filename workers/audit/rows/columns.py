"""Which column holds which field: as given on the command line or in a file, otherwise by the event's field names.

Reads no rows.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import yaml

from pipelines.strict_yaml import loaded
from schemas.errors import ConfigurationError
from workers.audit.rows.cursors import cursor_of
from workers.audit.rows.file_formats import SUFFIXES, form_of
from workers.audit.rows.locations import filesystem_of, find_files

# By field: the column that it is taken from where none is given and there is one.
FIELDS = {
    "id": "event_id",
    "conversation": "conversation_id",
    "tenant": "tenant",
    "time": "created_at",
    "role": None,
    "text": "text",
    "messages": "messages",
    "language": "language",
}


class Columns(NamedTuple):
    """Columns by field, and the one that a sample is stratified by."""

    by_field: dict[str, str]
    stratum: str | None = None

    @property
    def wanted(self) -> tuple[str, ...]:
        """The columns to read, each once, in a fixed order."""
        return tuple(dict.fromkeys((*self.by_field.values(), *([self.stratum] if self.stratum else []))))

    @classmethod
    def resolve(cls, given: Mapping[str, str], arguments: Sequence[str], stratum: str | None) -> Self:
        """What is given, completed from the columns that the files have.

        Raises:
            ConfigurationError: a field or a column that is not known, or nothing to judge.
        """
        if unknown := set(given) - set(FIELDS):
            raise ConfigurationError(f"mapping {min(unknown)}: not one of {', '.join(FIELDS)}")
        if {"text", "messages"} <= set(given):
            raise ConfigurationError(f"mapping text={given['text']} and messages={given['messages']}: one of them")
        by_field: dict[str, str] = {}
        for found in find_files(arguments, SUFFIXES):
            there, optional = _columns_of(found.uri, found.name)
            if not there:  # empty, as some writers leave them, and so without rows that could miss a column
                continue
            by_field = by_field or _completed(given, there)
            missing = {*by_field.values(), *([stratum] if stratum else [])} - set(there)
            if missing and not optional:
                shown = ", ".join(there[:20])
                raise ConfigurationError(f"{found.uri}: no column {min(missing)!r}; there are {shown}")
            if not {"text", "messages"} & set(by_field):
                raise ConfigurationError(f"{found.uri}: nothing to judge: map text or messages to one of {there[:20]}")
        if not by_field:
            raise ConfigurationError(f"{', '.join(arguments)}: there is nothing to judge: no columns")
        return cls({field: by_field[field] for field in FIELDS if field in by_field}, stratum)


def _completed(given: Mapping[str, str], there: Sequence[str]) -> dict[str, str]:
    """What is given, and the columns of the first file that have a field's usual name."""
    taken = {field: name for field, name in FIELDS.items() if name in there and field not in given}
    if {"text", "messages"} & set(given) or "messages" in taken:
        taken.pop("text", None)
    if "text" in given:
        taken.pop("messages", None)
    return {**given, **{field: name for field, name in taken.items() if name is not None}}


def _columns_of(uri: str, name: str) -> tuple[tuple[str, ...], bool]:
    """A file's columns, and whether some of its rows may have others."""
    files, path = filesystem_of(uri)
    form = form_of(name)
    try:
        return cursor_of(files, path, form, None).columns, form.kind == "jsonl"
    except (OSError, EOFError, ValueError, csv.Error) as error:
        raise ConfigurationError(f"{uri}: cannot be read as {form.kind}: {type(error).__name__}") from None


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
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not all(isinstance(part, str) for item in content.items() for part in item):
        raise ConfigurationError(f"{path}: not a mapping of fields to columns")
    return content
