"""Rows of CSV and TSV with a header. A row that is off the form is named by its line, and never cut and taken."""

import csv
from collections.abc import Mapping, Sequence

from schemas.errors import FileFormError
from schemas.reasons import Reason
from workers.files.csv_dialect import Dialect, told_by
from workers.files.row_values import LARGEST_ROW_BYTES, Malformed, Row, Values
from workers.files.text_lines import BOM, Lines


class CsvCursor:
    """CSV and TSV; a field may hold line ends, an empty one is None, blank lines are no rows.

    After a malformed row the next line is looked at, so that a stray quote does not take other rows with it.

    Args:
        lines: of the file, from its beginning.
        wanted: columns of the rows; None: nothing will be taken.
        constants: values of columns that the file does not have.
        dialect: how it is written.
        row: the row that comes next.
        mark: where it begins: byte and line; None: behind the header.

    Raises:
        FileFormError: the header cannot be read.
    """

    def __init__(
        self,
        lines: Lines,
        wanted: Sequence[str] | None,
        constants: Mapping[str, str | None],
        dialect: Dialect,
        row: int,
        mark: tuple[int, int] | None,
    ) -> None:
        csv.field_size_limit(LARGEST_ROW_BYTES)
        self._lines = lines
        self._row_lines = _RowLines(lines)
        self._reader = dialect.reader(self._row_lines)
        self._width = 0
        first = lines.read()
        if told_by(first[0].removeprefix(BOM).decode("utf-8", "replace")) is None:
            lines.take_back([first])
        header = self._next()
        if isinstance(header, Malformed):
            raise FileFormError(f"the header, line {header.line}: {header.detail}")
        self.columns = tuple(header or ())
        self.doubled = tuple(name for name in dict.fromkeys(self.columns) if self.columns.count(name) > 1)
        self._width = len(self.columns)
        if mark is not None:
            lines.seek(*mark)
        self._places = [
            (self.columns.index(name) if name in self.columns else None, constants.get(name)) for name in wanted or ()
        ]
        self.position = row
        self.malformed = 0

    @property
    def mark(self) -> tuple[int, int]:
        """Byte and line of the next row."""
        return self._lines.byte, self._lines.number

    def skip(self, rows: int) -> int:
        """Skip rows; returns how many there were."""
        passed = 0
        while passed < rows and (fields := self._next()) is not None:
            passed += 1
            self.malformed += isinstance(fields, Malformed)
        self.position += passed
        return passed

    def take(self, rows: int) -> list[Row]:
        """The next rows."""
        taken: list[Row] = []
        while len(taken) < rows and (fields := self._next()) is not None:
            taken.append(fields if isinstance(fields, Malformed) else self._values(fields))
        self.position += len(taken)
        return taken

    def _values(self, fields: Sequence[str]) -> Values:
        return tuple(constant if place is None else fields[place] or None for place, constant in self._places)

    def _next(self) -> list[str] | Malformed | None:
        """The fields of the next row that is not blank; None at the end."""
        while True:
            taken = self._row_lines.begin()
            reason = Reason.MALFORMED_ROW
            try:
                fields: list[str] | None = next(self._reader, None)
            except csv.Error as error:
                detail = str(error)  # of the standard library's own words, which quote nothing
            except UnicodeDecodeError:
                reason, detail = Reason.NOT_UTF8, "not UTF-8; see --encoding"
            except OverflowError:
                reason, detail = Reason.EVENT_TOO_LARGE, f"a row above {LARGEST_ROW_BYTES} bytes"
            else:
                if fields is None:
                    return None
                if not fields:
                    continue
                if len(fields) == (self._width or len(fields)):
                    return fields
                detail = f"{len(fields)} fields, the header has {self._width}"
            # What follows the row's first line is read anew: it may be rows that a stray quote has joined to it.
            self._lines.take_back(taken[1:])
            return Malformed(self._lines.number, reason, detail)


class _RowLines:
    """The lines of the file as text, and those of the present row as they were. Not a generator: it goes on after
    its end, when lines have been taken back.
    """

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._taken: list[tuple[bytes, int]] = []
        self._size = 0

    def begin(self) -> list[tuple[bytes, int]]:
        """The lines of a new row, which fill while it is read."""
        self._taken, self._size = [], 0
        return self._taken

    def __iter__(self) -> "_RowLines":
        return self

    def __next__(self) -> str:
        is_first = not self._lines.number
        line, size = self._lines.read()
        if not line:
            raise StopIteration
        self._taken.append((line, size))
        self._size += size
        if self._size > LARGEST_ROW_BYTES:
            raise OverflowError
        # Halves of characters are the event's reader's to replace.
        return (line.removeprefix(BOM) if is_first else line).decode("utf-8", "surrogatepass")
