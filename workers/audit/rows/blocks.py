"""Plans a run: cuts its inputs into blocks of rows or offsets, the same blocks each time.

A block is done as a whole or not at all. Files are read once for their digests, text files once more to find where
their blocks begin.
"""

import csv
import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any, NamedTuple

from schemas.errors import ConfigurationError
from workers.audit.manifest import FileInput, TopicInput
from workers.audit.rows.cursors import cursor_of
from workers.audit.rows.file_formats import SUFFIXES, form_of
from workers.audit.rows.locations import Found, filesystem_of, find_files

_SURVEYORS = 4  # digests and decompression leave Python's lock
_READ_BYTES = 2**20


class Block(NamedTuple):
    """Rows of a file, or offsets of a partition, from `start` on.

    `open_row` is a row at or before `start` where reading may begin; `open_byte` where it stands in a text file.
    """

    number: int
    uri: str
    name: str
    partition: int
    start: int
    rows: int
    open_row: int = 0
    open_byte: int = 0


class Plan(NamedTuple):
    """What is to be read, and in which blocks."""

    inputs: tuple[FileInput | TopicInput, ...]
    blocks: tuple[Block, ...]

    @property
    def rows(self) -> int:
        """Rows, or offsets, of all blocks."""
        return sum(block.rows for block in self.blocks)


class _Surveyed(NamedTuple):
    found: Found
    taken: FileInput
    starts: list[int]  # bytes of every block's start; empty where a file cannot be entered in the middle


def plan_files(
    arguments: Sequence[str], block_rows: int, lookback: int, advanced: Callable[[int, int | None], None]
) -> Plan:
    """The plan for some files.

    Args:
        arguments: paths, folders, globs, URIs.
        block_rows: rows of a block.
        lookback: rows before a block that its reader has to see.
        advanced: called with the files done, and all of them.

    Raises:
        ConfigurationError: a file cannot be read.
    """
    files = find_files(arguments, SUFFIXES)
    with ThreadPoolExecutor(_SURVEYORS) as pool:
        surveyed = []
        for item in pool.map(lambda found: _survey(found, block_rows), files):
            surveyed.append(item)
            advanced(len(surveyed), len(files))
    numbers = count()
    blocks = tuple(block for item in surveyed for block in _blocks(item, block_rows, lookback, numbers))
    return Plan(tuple(item.taken for item in surveyed), blocks)


def plan_topic(inputs: Sequence[TopicInput], block_rows: int) -> Plan:
    """The plan for offsets of a topic's partitions."""
    numbers = count()
    blocks = tuple(
        Block(next(numbers), "", item.topic, item.partition, start, min(block_rows, item.end - start))
        for item in inputs
        for start in range(item.start, item.end, block_rows)
    )
    return Plan(tuple(inputs), blocks)


def _survey(found: Found, block_rows: int) -> _Surveyed:
    files, path = filesystem_of(found.uri)
    form = form_of(found.name)
    try:
        digest, size = _digest(files, path)
        starts: list[int] = []
        if form.is_text:
            rows, starts = _marks(cursor_of(files, path, form, None), block_rows)
        else:
            rows = cursor_of(files, path, form, None).rows
    except (
        OSError,
        EOFError,
        ValueError,
        csv.Error,
    ) as error:  # Arrow's errors are ValueErrors; their texts may quote content
        raise ConfigurationError(f"{found.uri}: cannot be read as {form.kind}: {type(error).__name__}") from None
    taken = FileInput(uri=found.uri, name=found.name, bytes=size, sha256=digest, rows=rows)
    return _Surveyed(found, taken, [] if form.compression else starts)


def _digest(files: Any, path: str) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with files.open_input_stream(path) as stream:
        while chunk := stream.read(_READ_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def _marks(cursor: Any, block_rows: int) -> tuple[int, list[int]]:
    """The rows of a text file, and the byte at which each block begins."""
    starts = []
    while True:
        starts.append(cursor.byte)
        if cursor.skip(block_rows) < block_rows:
            return cursor.position, starts


def _blocks(surveyed: _Surveyed, block_rows: int, lookback: int, numbers: Iterator[int]) -> Iterator[Block]:
    found, taken, starts = surveyed
    for start in range(0, taken.rows, block_rows):
        row, byte = max(0, start - lookback), 0
        if starts:
            entry = row // block_rows
            row, byte = entry * block_rows, starts[entry]
        elif form_of(found.name).is_text:
            row = 0
        yield Block(next(numbers), found.uri, found.name, 0, start, min(block_rows, taken.rows - start), row, byte)
