"""Rows of JSONL, one object a line."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.reasons import Reason
from workers.files.row_values import LARGEST_ROW_BYTES, ColumnNames, Malformed, Row, getter_of, object_of
from workers.files.text_lines import BOM, Lines


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
        return object_of(line, self._lines.number)


def holds_lines(stream: io.BufferedReader) -> bool:
    """Whether a `.json` file has one object a line, as some writers leave it. Reads its beginning."""
    lines = (line for line in iter(lambda: stream.readline(LARGEST_ROW_BYTES), b"") if line.strip().removeprefix(BOM))
    first = next(lines, b"")
    return first.endswith(b"\n") and isinstance(object_of(first.removeprefix(BOM), 1), dict) and any(lines)
