"""Reads one file's rows forwards: skips some cheaply, takes some; in a Parquet file, from any row on.

A row is a tuple of the wanted columns' values, in order, or says what is wrong with it. An error never quotes a file's
content.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from workers.files.csv_dialect import Dialect, DialectAsked, dialect_of
from workers.files.csv_rows import CsvCursor
from workers.files.forms import Form
from workers.files.json_documents import DocumentCursor, RowsIn, rows_in
from workers.files.json_lines import LineCursor, holds_lines
from workers.files.row_values import Row
from workers.files.text_lines import Lines, decompressed, encoding_of, text_of

_SAMPLE_BYTES = 2**18


class Cursor(Protocol):
    """A position in a file.

    Attributes:
        position: the row that comes next.
        columns: the file's, nested ones with their path; of JSONL, those of all rows that were skipped.
        doubled: columns that it has twice.
        malformed: rows that were skipped and cannot be read.
    """

    position: int
    malformed: int

    @property
    def columns(self) -> tuple[str, ...]: ...

    @property
    def doubled(self) -> tuple[str, ...]: ...

    def skip(self, rows: int) -> int:
        """Skip `rows` rows, or as many as there are; returns how many."""
        ...

    def take(self, rows: int) -> list[Row]:
        """The next rows."""
        ...


class Written(NamedTuple):
    """How a file is written. `dialect` is of CSV and TSV; `rows_at` names the member of a document that holds rows."""

    form: Form
    encoding: str = "utf-8"
    dialect: Dialect | None = None
    rows_at: str | None = None
    has_marks: bool = False
    """Whether its rows can be entered in the middle, by byte and line."""
    rows_in: RowsIn = "list"
    """Where the rows of a document are."""


def written(opened: Callable[[], Any], form: Form, asked: DialectAsked, rows_at: str | None = None) -> Written:
    """How a file is written; reads its beginning.

    Args:
        opened: opens it.
        form: what its name says.
        asked: what the user says.
        rows_at: the member of a document that holds rows.

    Raises:
        OSError, EOFError, ValueError: it cannot be read.
    """
    if not form.is_text:
        return Written(form)
    with opened() as raw:
        start = decompressed(raw, form.compression).read(4)
    encoding = asked.encoding or encoding_of(start)
    marks = form.compression is None and encoding == "utf-8"
    with opened() as raw:
        stream = text_of(raw, form.compression, encoding)
        if form.kind == "json":
            if not holds_lines(stream):
                with opened() as again:
                    document = text_of(again, form.compression, encoding)  # whose end closes what it reads
                    where = rows_in(document, rows_at)
                return Written(form, encoding, None, rows_at, marks, where)
            form = form._replace(kind="jsonl")
        if form.kind == "jsonl":
            return Written(form, encoding, has_marks=marks)
        sample = stream.read(_SAMPLE_BYTES).decode("utf-8-sig", "replace")
        is_whole = not stream.read(1)
    lines = [f"{line}\n" for line in sample.split("\n")]
    if len(lines) > 1 and not is_whole:
        lines.pop()  # it may be cut
    dialect = dialect_of(lines, "\t" if form.kind == "tsv" else ",", asked, encoding, is_whole=is_whole)
    return Written(form, encoding, dialect, has_marks=marks)


def cursor_of(
    raw: Any,
    how: Written,
    wanted: Sequence[str] | None,
    constants: Mapping[str, str | None] | None = None,
    row: int = 0,
    mark: tuple[int, int] | None = None,
) -> Cursor:
    """A cursor on a file, ready to take row `row`.

    Args:
        raw: the file, open.
        how: it is written.
        wanted: columns of the rows; None: nothing will be taken.
        constants: values of columns that its rows do not have.
        row: number of the row, from 0.
        mark: byte and line (of a document: number) of that row in a text file; None: the first row.

    Raises:
        OSError, EOFError, ValueError: it cannot be read.
    """
    form, known = how.form, constants or {}
    if form.kind in ("parquet", "arrow"):
        from workers.files.arrow_tables import cursor_of as table_cursor_of  # pyarrow, an extra

        return table_cursor_of(raw, form.kind, wanted, known, row)
    stream = text_of(raw, form.compression, how.encoding)
    if form.kind == "json":
        return DocumentCursor(stream, wanted, known, row, how.rows_in, how.rows_at, mark)
    if form.kind == "jsonl":
        return LineCursor(Lines(stream, *(mark or ())), wanted, known, row)
    assert how.dialect is not None
    return CsvCursor(Lines(stream), wanted, known, how.dialect, row, mark)
