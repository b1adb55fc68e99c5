"""Reads a labelled file's rows as mappings, by the reader that all lanes share.

Knows nothing of labels. An error names file and row, never their content.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schemas.errors import ConfigurationError
from workers.files.csv_dialect import AS_FOUND, DialectAsked
from workers.files.cursors import Written, cursor_of, written
from workers.files.forms import form_of
from workers.files.row_values import Malformed, what_is_wrong

Row = dict[str, Any]
_ROWS = 1_024


class RowFile:
    """One file, which is read through once before its rows are taken: labelled files are small.

    Args:
        path: of the file.
        asked: what is known of its dialect.

    Attributes:
        columns: of all its rows, nested ones with their path.
        how: it is written.

    Raises:
        ConfigurationError: it cannot be read, has a suffix that is not known, a column twice, or a row that is none.
    """

    def __init__(self, path: Path, asked: DialectAsked = AS_FOUND) -> None:
        self._path = path
        self._form = form_of(str(path))
        try:
            self.how: Written = written(lambda: path.open("rb"), self._form, asked)
            with path.open("rb") as raw:
                cursor = cursor_of(raw, self.how, None)
                while cursor.skip(_ROWS):
                    pass
                self.columns: tuple[str, ...] = cursor.columns
                doubled = cursor.doubled
        except (OSError, EOFError, ValueError, ImportError) as error:
            raise self._unreadable(error) from None
        if doubled:
            raise ConfigurationError(f"{path}: has the column {doubled[0]!r} twice")

    def rows(self) -> Iterator[tuple[int, Row]]:
        """The rows with their numbers from 1; a column that a row does not have is None.

        Raises:
            ConfigurationError: a row that is none; the file cannot be read any more.
        """
        known = set(self.columns)
        names = [name for name in self.columns if not any(name[:end] in known for end in _dots(name))]
        number = 0
        try:
            with self._path.open("rb") as raw:
                cursor = cursor_of(raw, self.how, names)
                while rows := cursor.take(_ROWS):
                    for row in rows:
                        number += 1
                        if isinstance(row, Malformed):
                            raise ConfigurationError(f"{self._path}: line {row.line}: {row.detail}")
                        yield number, dict(zip(names, row, strict=True))
        except (OSError, EOFError, ValueError) as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> ConfigurationError:
        if isinstance(error, ImportError):
            return ConfigurationError(
                f"{self._path}: {self._form.kind} needs pyarrow: pip install 'weir-moderation[parquet]'"
            )
        # Its own text may quote what stands in the file.
        detail = error.strerror if isinstance(error, OSError) and error.strerror else what_is_wrong(error)
        return ConfigurationError(f"{self._path}: cannot be read as {self._form.kind}: {detail}")


def _dots(name: str) -> Iterator[int]:
    """Where a path's parts end."""
    return (place for place, character in enumerate(name) if character == ".")
