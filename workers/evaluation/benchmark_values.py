"""Single values of a benchmark's row, as JSON, Parquet and CSV have them.

What is not as published is a ConfigurationError, which names the column, and of the value no more than a word.
"""

from collections.abc import Mapping
from math import isnan
from typing import Any, get_args

from pipelines.guard import Conversation
from schemas.errors import ConfigurationError
from schemas.event import Role
from schemas.reading.fields import turns_in
from schemas.verdict import Severity
from workers.evaluation.row_files import Row

_ROLES = get_args(Role)
_LONGEST_WORD = 20


def severity_of(unsafe: bool) -> Severity:
    """The severity of a label that knows two."""
    return Severity.UNSAFE if unsafe else Severity.SAFE


def wrong(column: str, what: str) -> ConfigurationError:
    """A value that is not as it must be."""
    return ConfigurationError(f"column {column!r}: {what}")


def not_as_needed(column: str, needed: str, value: Any) -> ConfigurationError:
    """The same, with what was found: of a text only a word, which a label is and a message is not."""
    found = repr(value) if value is None or isinstance(value, bool | int | float) else type(value).__name__
    if isinstance(value, str):
        is_word = len(value) <= _LONGEST_WORD and len(value.split()) == 1
        found = repr(value) if is_word else f"a text of {len(value)} characters"
    return wrong(column, f"{needed} is needed, found {found}")


def labelled(row: Row, column: str, unsafe: str, safe: str) -> Severity:
    """The severity of a label in a benchmark's two words. A third word is not Safe."""
    if row[column] not in (unsafe, safe):
        raise not_as_needed(column, f"{unsafe} or {safe}", row[column])
    return severity_of(row[column] == unsafe)


def turns_of(messages: Any) -> Conversation | str:
    """A conversation as it stands in a row, or what is wrong with it."""
    turns = turns_in(messages)
    if not isinstance(turns, list) or not turns:
        return "not a list of messages"
    for turn in turns:
        if not isinstance(turn, Mapping) or not isinstance(turn.get("content"), str):
            return "a message without a text for its content"
        if not isinstance(turn.get("role"), str) or turn["role"] not in _ROLES:
            return f"a role that is none of {', '.join(sorted(_ROLES))}"
    return tuple({"role": turn["role"], "content": turn["content"]} for turn in turns)


def is_true(value: Any) -> bool:
    """A truth value as JSON, Parquet and CSV have it."""
    return str(value).strip().lower() in ("true", "1", "1.0", "yes")


def flag(row: Row, column: str) -> bool:
    """A label that is a truth value. Anything else is not Safe."""
    value = row[column]
    if not is_true(value) and str(value).strip().lower() not in ("false", "0", "0.0", "no"):
        raise not_as_needed(column, "a truth value", value)
    return is_true(value)


def is_missing(value: Any) -> bool:
    """Whether JSON (null), CSV (nothing) or a table of numbers (NaN) has no value there."""
    return value is None or value == "" or (isinstance(value, float) and isnan(value))


def refused(row: Row, column: str) -> bool:
    """Whether the label says refusal; a third word says neither."""
    if row[column] not in ("refusal", "compliance"):
        raise not_as_needed(column, "refusal or compliance", row[column])
    return bool(row[column] == "refusal")


def text(row: Row, column: str) -> str:
    """A text, which None is not."""
    value = row[column]
    if not isinstance(value, str):
        raise wrong(column, f"a text is needed, found {type(value).__name__}")
    return value


def text_if_any(row: Row, column: str) -> str:
    """A text that may be missing."""
    return "" if is_missing(row.get(column)) else text(row, column)


def category(row: Row, column: str) -> tuple[str, ...]:
    """The one category of a row, where it has one."""
    name = text_if_any(row, column)
    return (name,) if name else ()


def place_of(row: Row, columns: tuple[str, str]) -> tuple[int, int] | None:
    """Two positions, from 0 on; None where both are missing."""
    if all(is_missing(row.get(column)) for column in columns):
        return None
    first, last = (_position(row, column) for column in columns)
    if first > last:
        raise not_as_needed(columns[1], f"a position that is not before {columns[0]} {first}", last)
    return first, last


def _position(row: Row, column: str) -> int:
    value = row.get(column)
    digits = str(value).removesuffix(".0")  # a table with a missing value has floats
    if isinstance(value, bool) or not (digits.isascii() and digits.isdigit() and len(digits) < _LONGEST_WORD):
        raise not_as_needed(column, "a whole number from 0 on", value)
    return int(digits)
