"""Plans a run: surveys its files and cuts its inputs into blocks of rows or offsets, the same blocks each time.

A block is done as a whole or not at all. Files are read once for their digests, text files once more to find where
their blocks begin, which columns their rows have, and which rows cannot be read.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any, NamedTuple, Self

from schemas.errors import ConfigurationError
from workers.audit.manifest import FileInput, TopicInput
from workers.files import csv_dialect
from workers.files.csv_dialect import Dialect, DialectAsked
from workers.files.cursors import Written, cursor_of, written
from workers.files.forms import SUFFIXES, Form, form_of
from workers.files.locations import Files, Found, LeftOut, filesystem_of, find_files
from workers.files.row_values import partitions_of, what_is_wrong

_SURVEYORS = 4  # digests and decompression leave Python's lock
_READ_BYTES = 2**20
UNREADABLE = (OSError, EOFError, ValueError)
"""What reads of a damaged file raise. Arrow's errors are ValueErrors; their texts may quote content."""


class Block(NamedTuple):
    """Rows of a file, or offsets of a partition, from `start` on.

    `open_row` is a row at or before `start` where reading may begin; `open_mark` where it stands in a text file: byte
    and line. `stamp` is of the file as it was surveyed.
    """

    number: int
    uri: str
    name: str
    partition: int
    start: int
    rows: int
    open_row: int = 0
    open_mark: tuple[int, int] | None = None
    written: Written | None = None
    stamp: str = ""

    @classmethod
    def loaded(cls, text: str) -> Self:
        """From JSON, which knows no tuples."""
        block = cls(*json.loads(text))
        if block.written is None:
            return block
        how = Written(*block.written)
        dialect = None if how.dialect is None else Dialect(*how.dialect)
        how = how._replace(form=Form(*how.form), dialect=dialect)
        return block._replace(written=how, open_mark=None if block.open_mark is None else (*block.open_mark,))


class Plan(NamedTuple):
    """What is to be read, in which blocks, and what the arguments name beside it. `stamps` are the files' by URI."""

    inputs: tuple[FileInput | TopicInput, ...]
    blocks: tuple[Block, ...]
    left_out: tuple[LeftOut, ...] = ()
    stamps: tuple[tuple[str, str], ...] = ()

    @property
    def rows(self) -> int:
        """Rows, or offsets, of all blocks."""
        return sum(block.rows for block in self.blocks)


class Surveyed(NamedTuple):
    """One file as it was found: its columns, those that it has twice, and where its blocks begin."""

    found: Found
    taken: FileInput
    columns: tuple[str, ...]
    doubled: tuple[str, ...]
    marks: list[tuple[int, int]]
    written: Written
    stamp: str


class Survey(NamedTuple):
    """All files that are read."""

    files: tuple[Surveyed, ...]
    left_out: tuple[LeftOut, ...]


class HowAsked(NamedTuple):
    """How files are to be read: their dialect, and the member of a document that holds rows."""

    dialect: DialectAsked = csv_dialect.AS_FOUND
    rows_at: str | None = None
    left_out: frozenset[str] = frozenset()
    """Names of files that hold no rows, in a form that has such files."""


AS_FOUND = HowAsked()


def survey(
    arguments: Sequence[str],
    block_rows: int,
    advanced: Callable[[int, int | None], None],
    how: HowAsked = AS_FOUND,
    own: str | None = None,
) -> Survey:
    """Look through all files.

    Args:
        arguments: paths, folders, globs, URIs.
        block_rows: rows of a block.
        advanced: called with the files done, and all of them.
        how: see there.
        own: the run's own folder, which is none of its input.

    Raises:
        ConfigurationError: a file cannot be read.
    """
    files, left_out = _without(find_files(arguments, SUFFIXES, own), how.left_out)
    with ThreadPoolExecutor(_SURVEYORS) as pool:
        surveyed = []
        for item in pool.map(lambda found: _survey(found, block_rows, how), files):
            surveyed.append(item)
            advanced(len(surveyed), len(files))
    return Survey(tuple(surveyed), tuple(left_out))


def plan_files(surveyed: Survey, block_rows: int, lookback: int) -> Plan:
    """The plan for some files.

    Args:
        surveyed: the files.
        block_rows: rows of a block, as they were surveyed with.
        lookback: rows before a block that its reader has to see.
    """
    numbers = count()
    return Plan(
        tuple(item.taken for item in surveyed.files),
        tuple(block for item in surveyed.files for block in _blocks(item, block_rows, lookback, numbers)),
        surveyed.left_out,
        tuple((item.found.uri, item.stamp) for item in surveyed.files),
    )


def stamp_of(uri: str) -> str:
    """What changes when a file does: its size and the time of its last change.

    Raises:
        OSError: it cannot be looked at.
    """
    files, path = filesystem_of(uri)
    info = files.get_file_info(path)
    return f"{info.size}:{info.mtime_ns}"


def digest_of(uri: str) -> tuple[str, int]:
    """A file's SHA-256, and its size in bytes.

    Raises:
        OSError: it cannot be read.
    """
    files, path = filesystem_of(uri)
    digest, size = hashlib.sha256(), 0
    with files.open_input_stream(path, compression=None) as stream:
        while chunk := stream.read(_READ_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def constants_of(uri: str) -> dict[str, str | None]:
    """The columns that a file's folders hold."""
    return partitions_of(filesystem_of(uri)[1])


def plan_topic(inputs: Sequence[TopicInput], block_rows: int) -> Plan:
    """The plan for offsets of a topic's partitions."""
    numbers = count()
    blocks = tuple(
        Block(next(numbers), "", item.topic, item.partition, start, min(block_rows, item.end - start))
        for item in inputs
        for start in range(item.start, item.end, block_rows)
    )
    return Plan(tuple(inputs), blocks)


def _without(files: Files, names: frozenset[str]) -> Files:
    left_out = [LeftOut(item.uri, "holds no messages") for item in files.found if item.name.rpartition("/")[2] in names]
    gone = {item.uri for item in left_out}
    return Files([item for item in files.found if item.uri not in gone], [*files.left_out, *left_out])


def _survey(found: Found, block_rows: int, asked: HowAsked) -> Surveyed:
    files, path = filesystem_of(found.uri)
    form = form_of(found.name)

    def opened() -> Any:
        return files.open_input_file(path)

    try:
        stamp = stamp_of(found.uri)
        digest, size = digest_of(found.uri)
        how = written(opened, form, asked.dialect, asked.rows_at)
        with opened() as raw:
            cursor = cursor_of(raw, how, None)
            marks: list[tuple[int, int]] = []
            if hasattr(cursor, "rows"):
                rows = cursor.rows
            else:
                rows, marks = _marks(cursor, block_rows)
            columns, doubled, malformed = cursor.columns, cursor.doubled, cursor.malformed
        if stamp_of(found.uri) != stamp:
            raise ConfigurationError(f"{found.uri}: changes while it is read")
    except UNREADABLE as error:
        raise ConfigurationError(f"{found.uri}: cannot be read as {form.kind}: {what_is_wrong(error)}") from None
    taken = FileInput(
        uri=found.uri,
        name=found.name,
        bytes=size,
        sha256=digest,
        rows=rows,
        malformed=malformed,
        dialect=None if how.dialect is None else how.dialect._asdict(),
    )
    columns = tuple(dict.fromkeys((*columns, *constants_of(found.uri))))
    return Surveyed(found, taken, columns, doubled, marks if how.has_marks else [], how, stamp)


def _marks(cursor: Any, block_rows: int) -> tuple[int, list[tuple[int, int]]]:
    """The rows of a text file, and where each block begins."""
    marks = []
    while True:
        marks.append(cursor.mark)
        if cursor.skip(block_rows) < block_rows:
            return cursor.position, marks


def _blocks(surveyed: Surveyed, block_rows: int, lookback: int, numbers: Iterator[int]) -> Iterator[Block]:
    found, taken, how, stamp = surveyed.found, surveyed.taken, surveyed.written, surveyed.stamp
    for start in range(0, taken.rows, block_rows):
        row, mark = max(0, start - lookback), None
        if surveyed.marks:
            entry = row // block_rows
            row, mark = entry * block_rows, surveyed.marks[entry]
        elif how.form.is_text:
            row = 0
        rows = min(block_rows, taken.rows - start)
        yield Block(next(numbers), found.uri, found.name, 0, start, rows, row, mark, how, stamp)
