"""Rows of JSONL, one object a line, and of JSON documents: a list of objects, or objects that hold such lists."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import from_json

from schemas.reasons import Reason
from workers.files.row_values import LARGEST_ROW_BYTES, ColumnNames, Malformed, Row, getter_of
from workers.files.text_lines import BOM, Lines

LARGEST_DOCUMENT_BYTES = 2**28
_SAMPLE_BYTES = 2**16


class LineCursor:
    """JSONL; blank lines are no rows.

    Args:
        lines: of the file, from row `row` on.
        wanted: columns of the rows; None: their columns are noted.
        constants: values of columns that the rows do not have.
        row: the row that comes next.
    """

    doubled: tuple[str, ...] = ()

    def __init__(
        self, lines: Lines, wanted: Sequence[str] | None, constants: Mapping[str, str | None], row: int
    ) -> None:
        self._lines = lines
        self._get = getter_of(wanted or (), constants)
        self._noted = ColumnNames() if wanted is None else None
        self.position = row
        self.malformed = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of all rows that were skipped."""
        return () if self._noted is None else self._noted.names()

    @property
    def mark(self) -> tuple[int, int]:
        """Byte and line of the next row."""
        return self._lines.byte, self._lines.number

    def skip(self, rows: int) -> int:
        """Skip rows; returns how many there were."""
        passed = 0
        while passed < rows:
            line, size = self._lines.read()
            if not line:
                break
            if line.isspace():
                continue
            passed += 1
            if self._noted is not None:
                content = self._content(line, size)
                if isinstance(content, Malformed):
                    self.malformed += 1
                else:
                    self._noted.note(content)
        self.position += passed
        return passed

    def take(self, rows: int) -> list[Row]:
        """The next rows."""
        taken: list[Row] = []
        while len(taken) < rows:
            line, size = self._lines.read()
            if not line:
                break
            if not line.isspace():
                content = self._content(line, size)
                taken.append(content if isinstance(content, Malformed) else self._get(content))
        self.position += len(taken)
        return taken

    def _content(self, line: bytes, size: int) -> dict[str, Any] | Malformed:
        line = line.removeprefix(BOM)
        if len(line) > LARGEST_ROW_BYTES:
            detail = f"{size} bytes, the limit of a row is {LARGEST_ROW_BYTES}"
            return Malformed(self._lines.number, Reason.EVENT_TOO_LARGE, detail)
        try:
            content = from_json(line)
        except ValueError:
            content = None
        if isinstance(content, dict):
            return content
        return Malformed(self._lines.number, Reason.INVALID_JSON, "not a JSON object", line.strip(b"\r\n"))


class DocumentCursor:
    """A JSON document, which is in memory as a whole.

    Args:
        stream: its text.
        wanted, constants: as above.
        rows_at: the member that holds the rows, of a document that is an object.

    Raises:
        ValueError: it is no JSON, or too large.
    """

    doubled: tuple[str, ...] = ()

    def __init__(
        self,
        stream: io.BufferedReader,
        wanted: Sequence[str] | None,
        constants: Mapping[str, str | None],
        row: int,
        rows_at: str | None,
    ) -> None:
        self._stream = stream  # so that the file is closed by who has opened it
        text = stream.read(LARGEST_DOCUMENT_BYTES + 1)
        if len(text) > LARGEST_DOCUMENT_BYTES:
            raise ValueError("a document above 256 MiB")
        self._rows = _rows_of(from_json(text.removeprefix(BOM)), rows_at)
        self._get = getter_of(wanted or (), constants)
        noted = ColumnNames()
        if wanted is None:
            for content in self._rows:
                if isinstance(content, dict):
                    noted.note(content)
        self.columns = noted.names()
        self.malformed = sum(not isinstance(content, dict) for content in self._rows)
        self.position = min(row, len(self._rows))
        self.rows = len(self._rows)

    def skip(self, rows: int) -> int:
        """Skip rows; returns how many there were."""
        passed = min(rows, self.rows - self.position)
        self.position += passed
        return passed

    def take(self, rows: int) -> list[Row]:
        """The next rows."""
        start = self.position
        self.skip(rows)
        return [
            self._get(content)
            if isinstance(content, dict)
            else Malformed(number, Reason.WRONG_TYPE, f"a JSON object is needed, found {type(content).__name__}")
            for number, content in enumerate(self._rows[start : self.position], start + 1)
        ]


def _rows_of(content: Any, rows_at: str | None) -> list[Any]:
    if isinstance(content, dict):
        if rows_at is not None and isinstance(content.get(rows_at), list):
            return list(content[rows_at])
        if content and all(isinstance(value, list) for value in content.values()) and _holds_objects(content):
            return [row for rows in content.values() for row in rows]
    return content if isinstance(content, list) else [content]


def _holds_objects(content: Mapping[str, list[Any]]) -> bool:
    """Whether lists hold rows, and are not the columns of one, as a chat's `messages` by themselves would be."""
    return "messages" not in content and all(isinstance(row, dict) for rows in content.values() for row in rows)


def holds_lines(stream: io.BufferedReader) -> bool:
    """Whether a `.json` file has one object a line, as some writers leave it. Reads its beginning."""
    lines = [line for line in stream.read(_SAMPLE_BYTES).removeprefix(BOM).split(b"\n") if line.strip()]
    if len(lines) < 2:
        return False
    try:
        return isinstance(from_json(lines[0]), dict)
    except ValueError:
        return False
