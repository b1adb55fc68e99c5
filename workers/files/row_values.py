"""What a row is: the values of the wanted columns in order, or what is wrong with its text.

A column may be nested (`message.body`), and the folders of a file may hold columns (`org=kids`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from schemas.errors import EventError, FileFormError
from schemas.reading import json_text
from schemas.reading.envelope import object_in
from schemas.reasons import Reason

Values = tuple[Any, ...]
LARGEST_ROW_BYTES = 2**24
"""Of one row's text: what is longer is not taken into memory."""
_MOST_COLUMNS = 10_000
"""Of nested ones. A row's own are all noted, as one that is overlooked is a field that nobody reads; but see below."""
_MOST_NAMES = 200_000
_DEEPEST = 4
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


def what_is_wrong(error: Exception) -> str:
    """What may be said of an error that reading a file has raised: any other may quote it."""
    return str(error) if isinstance(error, FileFormError) else type(error).__name__


class Malformed(NamedTuple):
    """A row that cannot be read. `line` counts from 1; of a document it is the number of the element."""

    line: int
    reason: Reason
    detail: str


Row = Values | Malformed


def object_of(text: bytes, line: int) -> dict[str, Any] | Malformed:
    """The object of one row's JSON, read as the value of a live record is."""
    try:
        return _object(text)
    except EventError as error:
        return Malformed(line, error.reason, error.detail)


def _object(text: bytes) -> dict[str, Any]:
    content = json_text.read(text)
    return content if isinstance(content, dict) else object_in(content, _object)


def getter_of(wanted: Sequence[str], constants: Mapping[str, str | None]) -> Callable[[Mapping[str, Any]], Values]:
    """What takes the wanted values from a row's mapping; None for those that it does not have."""
    if not constants and not any("." in name for name in wanted):
        return lambda content: tuple(map(content.get, wanted))

    def get(content: Mapping[str, Any]) -> Values:
        return tuple(
            content[name] if name in content else constants[name] if name in constants else within(content, name)
            for name in wanted
        )

    return get


def within(content: Any, path: str) -> Any:
    """A value by its path; None where there is none. A key may have dots in it."""
    name = path
    while isinstance(content, Mapping):
        if name in content:
            rest = path[len(name) + 1 :]
            return within(content[name], rest) if rest else content[name]
        if "." not in name:
            return None
        name = name.rpartition(".")[0]
    return None


class ColumnNames:
    """The columns of all rows that were noted, nested ones with them, in order of appearance."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = dict.fromkeys(names)

    def note(self, content: Mapping[str, Any], prefix: str = "", depth: int = 1) -> None:
        """Add a row's.

        Raises:
            FileFormError: the rows have more names than a table has.
        """
        for name, value in content.items():
            path = f"{prefix}{name}"
            if path not in self._names and (not prefix or len(self._names) < _MOST_COLUMNS):
                self._names[path] = None
                if len(self._names) > _MOST_NAMES:
                    raise FileFormError(f"more than {_MOST_NAMES} columns")
            if value.__class__ is dict and depth < _DEEPEST:
                self.note(value, f"{path}.", depth + 1)

    def names(self) -> tuple[str, ...]:
        """All so far."""
        return tuple(self._names)


def partitions_of(path: str) -> dict[str, str | None]:
    """The columns that a file's folders hold, as Hive and Spark name them."""
    pairs = (part.partition("=") for part in path.split("/")[:-1] if "=" in part)
    return {name: None if value == _NULL_PARTITION else unquote(value) for name, _, value in pairs if name}
