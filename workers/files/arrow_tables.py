"""Rows of Parquet and Arrow files, of which only the wanted columns are read."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any

import pyarrow as pa
from pyarrow import compute, ipc, parquet

from workers.files.row_values import Row, within

_BATCH_ROWS = 4_096
_UNREADABLE: Mapping[str, Any] = {}
"""In place of a value that Python cannot hold: no text, no id and no time, so that what needs it is refused by name."""


def cursor_of(
    raw: Any, kind: str, wanted: Sequence[str] | None, constants: Mapping[str, str | None], row: int
) -> "TableCursor":
    """See `workers.files.cursors`."""
    batches, rows, schema = (
        _parquet_batches(raw, wanted, row) if kind == "parquet" else _arrow_batches(raw, wanted, row)
    )
    return TableCursor(batches, rows, schema, wanted, constants, row)


class TableCursor:
    """Batches of columns."""

    malformed = 0

    def __init__(
        self,
        batches: Iterator[Any],
        rows: int,
        schema: Any,
        wanted: Sequence[str] | None,
        constants: Mapping[str, str | None],
        row: int,
    ) -> None:
        self._batches = batches
        self.rows = rows
        self.columns = tuple(_paths(schema))
        self.doubled = tuple(name for name in dict.fromkeys(schema.names) if schema.names.count(name) > 1)
        self._wanted = tuple(wanted or ())
        self._roots = [_root(schema, name) for name in self._wanted]
        self._constants = constants
        self._rest: Any = None
        self.position = row

    def skip(self, rows: int) -> int:
        """Skip rows; returns how many there were."""
        return sum(batch.num_rows for batch in self._advance(rows))

    def take(self, rows: int) -> list[Row]:
        """The next rows."""
        taken: list[Row] = []
        for batch in self._advance(rows):
            columns = [self._column(batch, *pair) for pair in zip(self._wanted, self._roots, strict=True)]
            taken += zip(*columns, strict=True) if columns else repeat((), batch.num_rows)
        return taken

    def _column(self, batch: Any, name: str, root: str | None) -> list[Any]:
        if root is None:
            return [self._constants.get(name)] * batch.num_rows
        values = _values(batch.column(root))
        rest = name[len(root) + 1 :]
        return [within(value, rest) for value in values] if rest else values

    def _advance(self, rows: int) -> Iterator[Any]:
        while rows:
            batch = self._rest if self._rest is not None else next(self._batches, None)
            if batch is None:
                return
            part, self._rest = batch.slice(0, rows), batch.slice(rows) if batch.num_rows > rows else None
            rows -= part.num_rows
            self.position += part.num_rows
            yield part


def _paths(fields: Any, prefix: str = "") -> Iterator[str]:
    """The columns, nested ones with their path."""
    for field in fields:
        yield f"{prefix}{field.name}"
        if pa.types.is_struct(field.type):
            yield from _paths(field.type, f"{prefix}{field.name}.")


def _root(schema: Any, name: str) -> str | None:
    """The column of the table that a path begins with; None if it has none."""
    root = name
    while root not in schema.names:
        if "." not in root:
            return None
        root = root.rpartition(".")[0]
    return root


def _roots(schema: Any, wanted: Sequence[str] | None) -> list[str]:
    return list(dict.fromkeys(root for name in wanted or () if (root := _root(schema, name)) is not None))


def _values(column: Any) -> list[Any]:
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        # In nanoseconds they would come as pandas' own type where pandas is installed, and not at all where it is not.
        column = compute.cast(column, pa.timestamp("us", column.type.tz), safe=False)
    if pa.types.is_floating(column.type):
        column = compute.if_else(compute.is_nan(column), None, column)  # a table of numbers has it for null
    try:
        return list(column.to_pylist(maps_as_pydicts="lossy"))
    except (ValueError, ArithmeticError, LookupError):
        return [_value(scalar) for scalar in column]


def _value(scalar: Any) -> Any:
    """A value; where there is one in it that Python cannot hold, all others. One must not stop the rows around it.

    Such are a time beyond Python's calendar or in a zone that is not known, and a string that is not UTF-8.
    """
    try:
        return scalar.as_py(maps_as_pydicts="lossy")
    except (ValueError, ArithmeticError, LookupError):
        pass
    kind = scalar.type
    if pa.types.is_struct(kind):
        return {name: _value(scalar[place]) for place, name in enumerate(kind.names)}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return [_value(item) for item in scalar.values]
    if pa.types.is_dictionary(kind):
        return _value(scalar.value)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return scalar.as_buffer().to_pybytes()
    if pa.types.is_timestamp(kind) and kind.tz is not None:  # which counts in UTC whatever its zone is
        return _value(pa.scalar(scalar.value, pa.timestamp(kind.unit)))
    return _UNREADABLE


def _parquet_batches(raw: Any, wanted: Sequence[str] | None, row: int) -> tuple[Iterator[Any], int, Any]:
    # As nanoseconds, which is the default, times of Spark and Hive that are beyond 2262 would come as others.
    file = parquet.ParquetFile(raw, coerce_int96_timestamp_unit="us")
    metadata, before = file.metadata, 0
    groups: list[int] = []
    for number in range(metadata.num_row_groups):
        end = before + metadata.row_group(number).num_rows
        if groups or end > row:
            groups.append(number)
        else:
            before = end
    batches = file.iter_batches(_BATCH_ROWS, row_groups=groups, columns=_roots(file.schema_arrow, wanted))
    return _from_row(batches, row - before), metadata.num_rows, file.schema_arrow


def _arrow_batches(raw: Any, wanted: Sequence[str] | None, row: int) -> tuple[Iterator[Any], int, Any]:
    try:
        file = ipc.open_file(raw)
    except pa.ArrowInvalid:
        raw.seek(0)
        stream = ipc.open_stream(raw)
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
