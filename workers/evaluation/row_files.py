"""Reads a file's rows as mappings: JSONL, JSON, CSV, TSV and Parquet, also gzip, xz and bzip2.

Knows nothing of labels. An error names file and row, never their content.
"""

import bz2
import csv
import gzip
import json
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from schemas.errors import ConfigurationError

Row = dict[str, Any]
_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
_LARGEST_FIELD = 2**31 - 1  # of a CSV; the standard library stops at 128 KiB, a reasoning trace does not
_PARQUET_ROWS = 1_024


def read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """The rows with their numbers from 1, one at a time where the form allows it.

    A JSON document may be a list of objects or an object of such lists (HarmBench's form); `.json` may hold lines, too
    (RTP-LX's form).

    Raises:
        ConfigurationError: the file cannot be read, has a suffix that is not known, or a row that is no object.
    """
    suffixes = path.suffixes
    opener = _OPENERS.get(suffixes[-1], open) if suffixes else open
    kind = suffixes[-2] if opener is not open and len(suffixes) > 1 else path.suffix
    readers = {".jsonl": _lines, ".ndjson": _lines, ".json": _document, ".csv": _csv, ".tsv": _tsv}
    try:
        if kind == ".parquet":
            yield from enumerate(_parquet(path), 1)
            return
        if kind not in readers:
            raise ConfigurationError(f"{path}: not one of .jsonl, .json, .csv, .tsv, .parquet (nor .gz, .xz, .bz2)")
        with opener(path, "rt", encoding="utf-8-sig", newline="") as stream:
            for number, row in enumerate(readers[kind](stream), 1):
                if not isinstance(row, dict):
                    raise ConfigurationError(f"{path}: row {number} is not a JSON object")
                yield number, row
    except (OSError, EOFError, ValueError, RecursionError, csv.Error, lzma.LZMAError) as error:
        # Its own text may quote what stands in the file.
        detail = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        line = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise ConfigurationError(f"{path}: cannot be read as {kind.removeprefix('.')}{line}: {detail}") from None


def _lines(stream: TextIO) -> Iterator[Any]:
    for number, line in enumerate(stream, 1):
        if line.strip():
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                error.lineno = number
                raise


def _document(stream: TextIO) -> Iterator[Any]:
    text = stream.read()
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        yield from _lines(iter(text.split("\n")))  # type: ignore[arg-type]
        return
    if isinstance(content, dict) and content and all(isinstance(value, list) for value in content.values()):
        content = [row for rows in content.values() for row in rows]
    yield from content if isinstance(content, list) else [content]


def _csv(stream: TextIO) -> Iterator[Any]:
    csv.field_size_limit(_LARGEST_FIELD)
    yield from csv.DictReader(stream, strict=True)


def _tsv(stream: TextIO) -> Iterator[Any]:
    csv.field_size_limit(_LARGEST_FIELD)
    yield from csv.DictReader(stream, dialect="excel-tab", strict=True)


def _parquet(path: Path) -> Iterator[Row]:
    try:
        from pyarrow.parquet import ParquetFile  # an extra
    except ImportError:
        raise ConfigurationError(f"{path}: Parquet needs pyarrow: pip install 'weir-moderation[parquet]'") from None
    with ParquetFile(path) as table:
        for batch in table.iter_batches(batch_size=_PARQUET_ROWS):
            yield from batch.to_pylist()
