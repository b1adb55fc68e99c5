"""Reads a run's folder for a report: manifest, markers, and the rows of finished blocks in bounded batches.

Files of a block without a marker are unfinished and left out. Writes nothing.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import fs, parquet
from pydantic import ValidationError

from schemas.errors import ConfigurationError
from workers.audit.rows.tables import DEAD_LETTER_SCHEMA, VERDICT_SCHEMA
from workers.audit.run_folder import DEAD_LETTERS, VERDICTS, RunFolder
from workers.files.locations import filesystem_of

Progress = Callable[[int], None]
"""Takes how many rows more have been read."""

_BLOCK_FILE = re.compile(r"block-([0-9]+)\.parquet")
_READ_ROWS = 16_384
_BATCH_ROWS = 65_536
_BATCH_BYTES = 64 << 20


class _File(NamedTuple):
    path: str
    severity: str | None
    """Of the folder `verdict=…`; None of a dead-letter file."""


class RunFiles:
    """One run.

    Args:
        uri: a folder, or where a file system of pyarrow has it.

    Raises:
        ConfigurationError: there is no run, or its manifest cannot be read.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        folder = RunFolder(uri)
        self.manifest = folder.manifest()
        with _named(uri):
            self._system, self._root = filesystem_of(uri)
            self.done = folder.done()
            self.markers = list(folder.markers(self.done))
            self._verdicts = self._finished(VERDICTS)
            self._dead_letters = self._finished(DEAD_LETTERS)

    def verdicts(self, columns: list[str], progress: Progress, *, severity: str | None = None) -> Iterator[Any]:
        """Record batches of verdicts with these columns; those of one severity only, if one is given.

        Raises:
            ConfigurationError: a file cannot be read as the run's schema says.
        """
        paths = [found.path for found in self._verdicts if severity in (None, found.severity)]
        yield from self._batches(paths, VERDICT_SCHEMA, columns, progress)

    def dead_letters(self, columns: list[str], progress: Progress) -> Iterator[Any]:
        """Record batches of dead letters.

        Raises:
            ConfigurationError: a file cannot be read as the run's schema says.
        """
        yield from self._batches([found.path for found in self._dead_letters], DEAD_LETTER_SCHEMA, columns, progress)

    def _batches(self, paths: list[str], schema: Any, columns: list[str], progress: Progress) -> Iterator[Any]:
        wanted = pa.schema([schema.field(name) for name in columns])
        with _named(self._uri):
            for batch in _gathered(self._read(path, wanted) for path in paths):
                yield batch
                progress(batch.num_rows)

    def _read(self, path: str, wanted: Any) -> Iterator[Any]:
        """Batches of one file; not as a dataset, which reads ahead without bound where files are small."""
        with self._system.open_input_file(path) as source, parquet.ParquetFile(source) as file:
            for batch in file.iter_batches(_READ_ROWS, columns=wanted.names):
                yield batch.select(wanted.names).cast(wanted)

    def _finished(self, folder: str) -> list[_File]:
        """Files of finished blocks below a folder, in order."""
        selector = fs.FileSelector(f"{self._root}/{folder}", allow_not_found=True, recursive=True)
        files = []
        for info in self._system.get_file_info(selector):
            block = _BLOCK_FILE.fullmatch(info.base_name)
            if info.type == fs.FileType.File and block and int(block[1]) in self.done:
                severity = re.search(r"/verdict=([^/]+)/[^/]+$", info.path)
                files.append(_File(info.path, severity[1] if severity else None))
        return sorted(files)


@contextmanager
def _named(uri: str) -> Iterator[None]:
    """Errors of reading as one that names the run; their own text may quote what stands in a file."""
    try:
        yield
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise ConfigurationError(f"{uri}: marker: {field}: {first['msg']}") from None
    except (OSError, pa.ArrowException) as error:
        raise ConfigurationError(f"{uri}: cannot be read: {type(error).__name__}") from None


def _gathered(files: Iterable[Iterable[Any]]) -> Iterator[Any]:
    """Join small batches into ones large enough to vectorise: blocks may be small, and severities rare."""
    held: list[Any] = []
    rows = size = 0
    for batch in chain.from_iterable(files):
        held.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= _BATCH_ROWS or size >= _BATCH_BYTES:
            yield pa.concat_batches(held)
            held, rows, size = [], 0, 0
    if held:
        yield pa.concat_batches(held)
