"""Reads one file's rows forwards: skips some cheaply, takes some; in a Parquet file, from any row on.

A row is a tuple of the wanted columns' values, in order. A JSONL line that is not a JSON object comes as its bytes, and
the decoder of records decides what becomes of it. An error never quotes a file's content.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

import pyarrow as pa
from pyarrow import compute, ipc, parquet
from pydantic_core import from_json

from workers.audit.rows.file_formats import Form

Values = tuple[Any, ...]
Row = Values | bytes
_BATCH_ROWS = 4_096
_BUFFER_BYTES = 2**20
_OUT_OF_RANGE = "out of range"
_LARGEST_FIELD = 2**26  # of a CSV, so that a stray quote does not take the rest of the file into memory


class Cursor(Protocol):
    """A position in a file. `position` is the row that comes next."""

    position: int

    @property
    def columns(self) -> tuple[str, ...]:
        """The file's columns; of JSONL, those of its first object."""
        ...

    def skip(self, rows: int) -> int:
        """Skip `rows` rows, or as many as there are; returns how many."""
        ...

    def take(self, rows: int) -> list[Row]:
        """The next rows."""
        ...


def cursor_of(files: Any, path: str, form: Form, wanted: Sequence[str] | None, row: int = 0, byte: int = 0) -> Any:
    """A cursor on a file, ready to take row `row`; a text file's begins at `byte`.

    Args:
        files: its filesystem.
        path: in that.
        form: what it is.
        wanted: columns of the rows; None: nothing will be taken.
        row: number of the row, from 0.
        byte: where that row stands in a text file that is not compressed; 0: the first row.

    Raises:
        OSError, ValueError, csv.Error: it cannot be read.
    """
    if form.kind == "parquet":
        return _TableCursor(*_parquet_batches(files, path, wanted, row), wanted, row)
    if form.kind == "arrow":
        return _TableCursor(*_arrow_batches(files, path, wanted, row), wanted, row)
    if form.compression is not None:
        raw = files.open_input_stream(path, compression=form.compression)
    else:
        raw = files.open_input_file(path)
    stream = io.BufferedReader(raw, _BUFFER_BYTES)
    if form.kind == "jsonl":
        return _LineCursor(stream, wanted, row, byte)
    return _CsvCursor(stream, wanted, row, byte, "\t" if form.kind == "tsv" else ",")


class _LineCursor:
    """JSONL; blank lines are no rows."""

    def __init__(self, stream: io.BufferedReader, wanted: Sequence[str] | None, row: int, byte: int) -> None:
        if byte:
            stream.seek(byte)
        self._stream = stream
        self._wanted = tuple(wanted or ())
        self.position = row
        self.byte = byte

    @property
    def columns(self) -> tuple[str, ...]:
        for line in self._stream:
            try:
                content = from_json(line)
            except ValueError:
                continue
            if isinstance(content, dict):
                return tuple(content)
        return ()

    def skip(self, rows: int) -> int:
        passed = 0
        while passed < rows and (line := self._stream.readline()):
            self.byte += len(line)
            passed += not line.isspace()
        self.position += passed
        return passed

    def take(self, rows: int) -> list[Row]:
        taken = list(islice(map(self._row, (line for line in self._stream if not line.isspace())), rows))
        self.position += len(taken)
        return taken

    def _row(self, line: bytes) -> Row:
        try:
            content = from_json(line)
        except ValueError:
            return line.rstrip(b"\r\n")
        if not isinstance(content, dict):
            return line.rstrip(b"\r\n")
        return tuple(map(content.get, self._wanted))


class _CsvCursor:
    """CSV and TSV with a header; a field may hold line ends. An empty field is None."""

    def __init__(
        self, stream: io.BufferedReader, wanted: Sequence[str] | None, row: int, byte: int, delimiter: str
    ) -> None:
        csv.field_size_limit(_LARGEST_FIELD)
        self._stream = stream
        self.byte = 0
        self._reader = csv.reader(self._lines(), delimiter=delimiter, strict=True)
        self.columns = tuple(next(self._reader, ()))
        if byte:
            stream.seek(byte)
            self.byte = byte
        self._indices = [self.columns.index(name) for name in wanted or ()]
        self.position = row

    def _lines(self) -> Iterator[str]:
        # Bytes that are no UTF-8 become lone surrogates, which the event's decoder refuses by name.
        while line := self._stream.readline():
            self.byte += len(line)
            yield line.decode("utf-8-sig" if self.byte == len(line) else "utf-8", "surrogateescape")

    def skip(self, rows: int) -> int:
        passed = sum(1 for _ in islice(filter(None, self._reader), rows))
        self.position += passed
        return passed

    def take(self, rows: int) -> list[Row]:
        indices = self._indices
        taken: list[Row] = [
            tuple((fields[index] if index < len(fields) else None) or None for index in indices)
            for fields in islice(filter(None, self._reader), rows)
        ]
        self.position += len(taken)
        return taken


class _TableCursor:
    """Parquet and Arrow: batches of columns, of which only the wanted ones are read."""

    def __init__(self, batches: Iterator[Any], rows: int, schema: Any, wanted: Sequence[str] | None, row: int) -> None:
        self._batches = batches
        self.rows = rows
        self.columns = tuple(schema.names)
        self._wanted = tuple(wanted or ())
        self._rest: Any = None
        self.position = row

    def skip(self, rows: int) -> int:
        return sum(batch.num_rows for batch in self._advance(rows))

    def take(self, rows: int) -> list[Row]:
        taken: list[Row] = []
        for batch in self._advance(rows):
            columns = [_values(batch.column(name)) for name in self._wanted]
            taken += zip(*columns, strict=True)
        return taken

    def _advance(self, rows: int) -> Iterator[Any]:
        while rows:
            batch = self._rest if self._rest is not None else next(self._batches, None)
            if batch is None:
                return
            part, self._rest = batch.slice(0, rows), batch.slice(rows) if batch.num_rows > rows else None
            rows -= part.num_rows
            self.position += part.num_rows
            yield part


def _values(column: Any) -> list[Any]:
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        # In nanoseconds they would come as pandas' own type where pandas is installed, and not at all where it is not.
        column = compute.cast(column, pa.timestamp("us", column.type.tz), safe=False)
    try:
        return list(column.to_pylist())
    except OverflowError:
        return [_value(scalar) for scalar in column]


def _value(scalar: Any) -> Any:
    """A value, or a stand-in that no decoder takes for a time: one row's year 50000 must not stop the others."""
    try:
        return scalar.as_py()
    except OverflowError:
        return _OUT_OF_RANGE


def _parquet_batches(files: Any, path: str, wanted: Sequence[str] | None, row: int) -> tuple[Iterator[Any], int, Any]:
    # As nanoseconds, which is the default, times of Spark and Hive that are beyond 2262 would come as others.
    file = parquet.ParquetFile(files.open_input_file(path), coerce_int96_timestamp_unit="us")
    metadata, before = file.metadata, 0
    groups: list[int] = []
    for number in range(metadata.num_row_groups):
        end = before + metadata.row_group(number).num_rows
        if groups or end > row:
            groups.append(number)
        else:
            before = end
    batches = file.iter_batches(_BATCH_ROWS, row_groups=groups, columns=list(wanted or ()))
    return _from_row(batches, row - before), metadata.num_rows, file.schema_arrow


def _arrow_batches(files: Any, path: str, wanted: Sequence[str] | None, row: int) -> tuple[Iterator[Any], int, Any]:
    source = files.open_input_file(path)
    try:
        file = ipc.open_file(source)
    except pa.ArrowInvalid:
        source.seek(0)
        stream = ipc.open_stream(source)
        rows = 0 if wanted is not None else sum(batch.num_rows for batch in stream)
        return _from_row(stream, row), rows, stream.schema
    batches = (file.get_batch(number) for number in range(file.num_record_batches))
    rows = 0
    if wanted is None:
        rows = sum(file.get_batch(number).num_rows for number in range(file.num_record_batches))
    return _from_row(batches, row), rows, file.schema


def _from_row(batches: Iterator[Any], row: int) -> Iterator[Any]:
    """The batches from that row of theirs on, none of them large."""
    for batch in batches:
        if row >= batch.num_rows:
            row -= batch.num_rows
            continue
        for start in range(row, batch.num_rows, _BATCH_ROWS):
            yield batch.slice(start, _BATCH_ROWS)
        row = 0
