"""The folder of a run, on a disk or in an object store: manifest, markers and Parquet files.

A file is written under a temporary name and then renamed, so it is there whole or not at all. Knows nothing of rows.
"""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pyarrow as pa
from pyarrow import fs, parquet
from pydantic import ValidationError

from schemas.errors import ConfigurationError, ModerationError
from workers.audit.manifest import BlockFile, BlockMarker, Cost, Counts, Manifest, total_cost, total_counts
from workers.files.locations import filesystem_of, reason_of

MANIFEST = "manifest.json"
DRIVER = "driver.json"  # of `run_lock`, while a run is driven
VERDICTS = "verdicts"
DEAD_LETTERS = "dead_letters"
_BLOCKS = "blocks"
_TEMPORARY = "_temporary"  # readers of Parquet folders skip what begins so
_READ_BYTES = 2**20
_BLOCK_FILE = re.compile(r"block-([0-9]{6,})\.(?:parquet|json)")


def block_name(block: int) -> str:
    """The name of a block's files, without a suffix."""
    return f"block-{block:06}"


class RunFolder:
    """One run's files.

    Args:
        uri: a path, or a URI of a filesystem that pyarrow has (`s3://…`, `gs://…`, `hdfs://…`).

    Raises:
        ConfigurationError: pyarrow knows no such filesystem; from reads, too, where a file is not what we write.
        ModerationError: from all methods: a file cannot be read or written.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._files, self._root = filesystem_of(uri)

    def is_begun(self) -> bool:
        """Whether there is a manifest."""
        return self._exists(MANIFEST)

    def is_empty(self) -> bool:
        """Whether there is no folder, or nothing in it but the driver's own file, and what guards it."""
        return all(info.base_name.startswith(DRIVER) for info in self._list(""))

    def manifest(self) -> Manifest:
        """The manifest.

        Raises:
            ConfigurationError: there is none, or another program's.
        """
        try:
            return Manifest.model_validate_json(self._read(MANIFEST))
        except FileNotFoundError:
            raise ConfigurationError(f"{self.uri}: not a run of `weir audit run`: it has no {MANIFEST}") from None
        except ValidationError as error:
            field = ".".join(str(part) for part in error.errors()[0]["loc"]) or "not JSON"
            raise ConfigurationError(f"{self.uri}/{MANIFEST}: {field}: not what this version of Weir writes") from None

    def write_manifest(self, manifest: Manifest) -> None:
        """Write the manifest over the one before."""
        self._write(MANIFEST, manifest.model_dump_json(indent=2).encode())

    def done(self) -> set[int]:
        """The blocks that have a marker."""
        names = (_BLOCK_FILE.fullmatch(info.base_name) for info in self._list(_BLOCKS))
        return {int(found[1]) for found in names if found}

    def marker(self, block: int) -> BlockMarker:
        """The marker of a block that is done."""
        return BlockMarker.model_validate_json(self._read(f"{_BLOCKS}/{block_name(block)}.json"))

    def markers(self, blocks: Collection[int]) -> Iterator[BlockMarker]:
        """The markers of some blocks that are done, in order."""
        return map(self.marker, sorted(blocks))

    def marker_of(self, block: int, attempt: str) -> BlockMarker | None:
        """The marker of a block, if that attempt at the run has done it."""
        if not self._exists(f"{_BLOCKS}/{block_name(block)}.json"):
            return None
        try:
            marker = self.marker(block)
        except ValidationError:  # see `whole_markers`
            return None
        return marker if marker.attempt == attempt else None

    def sizes(self) -> dict[str, int]:
        """The bytes of all Parquet files, by name."""
        found = (info for folder in (VERDICTS, DEAD_LETTERS) for info in self._list(folder, recursive=True))
        return {info.path[len(self._root) + 1 :]: info.size for info in found if info.path.endswith(".parquet")}

    def whole_markers(self) -> list[BlockMarker]:
        """The markers of blocks whose files are what they wrote, to the byte; what others left is to be done again."""
        sizes = self.sizes()
        found = []
        for number in sorted(self.done()):
            try:
                marker = self.marker(number)
            except ValidationError:  # it was cut short, or an older version wrote it
                continue
            if all(
                sizes.get(file.name) == file.bytes and self._digest(file.name) == file.sha256 for file in marker.files
            ):
                found.append(marker)
        return found

    def write_marker(self, marker: BlockMarker) -> None:
        """Declare a block done: after all its other files."""
        self._write(f"{_BLOCKS}/{block_name(marker.block)}.json", marker.model_dump_json().encode())

    def write_table(self, folder: str, block: int, table: Any) -> BlockFile:
        """Write one Parquet file of a block."""
        sink = pa.BufferOutputStream()
        parquet.write_table(table, sink, compression="zstd")
        name = f"{folder}/{block_name(block)}.parquet"
        content = sink.getvalue()
        self._write(name, content)
        return BlockFile(name=name, bytes=content.size, sha256=sha256(content).hexdigest())

    def remove_unfinished(self, done: Collection[int]) -> None:
        """Delete what attempts that were killed have left: temporary files, and files of blocks without a marker."""
        self.remove_temporary()
        for folder in (VERDICTS, DEAD_LETTERS):
            for info in self._list(folder, recursive=True):
                found = _BLOCK_FILE.fullmatch(info.base_name)
                if found and int(found[1]) not in done:
                    self._files.delete_file(info.path)

    def remove_temporary(self) -> None:
        """Delete what was not written to its end."""
        if self._files.get_file_info(f"{self._root}/{_TEMPORARY}").type == fs.FileType.Directory:
            self._files.delete_dir(f"{self._root}/{_TEMPORARY}")

    def tables(self, folder: str, columns: list[str]) -> Iterator[Any]:
        """Tables of `verdicts` or `dead_letters`, file by file, in the order of their names."""
        paths = sorted(info.path for info in self._list(folder, recursive=True) if info.path.endswith(".parquet"))
        for path in paths:
            # One file at a time and not as a dataset, which would add the columns of its folders.
            with self._files.open_input_file(path) as source:
                yield parquet.ParquetFile(source).read(columns=columns)

    def _digest(self, name: str) -> str:
        digest = sha256()
        with self._named("read"), self._files.open_input_stream(f"{self._root}/{name}", compression=None) as stream:
            while chunk := stream.read(_READ_BYTES):
                digest.update(chunk)
        return digest.hexdigest()

    def _exists(self, name: str) -> bool:
        with self._named("read"):
            return bool(self._files.get_file_info(f"{self._root}/{name}").type == fs.FileType.File)

    def _list(self, name: str, *, recursive: bool = False) -> list[Any]:
        path = f"{self._root}/{name}".rstrip("/")
        with self._named("read"):
            return list(self._files.get_file_info(fs.FileSelector(path, allow_not_found=True, recursive=recursive)))

    def _read(self, name: str) -> bytes:
        with self._named("read"), self._files.open_input_stream(f"{self._root}/{name}") as stream:
            return bytes(stream.read())

    def _write(self, name: str, content: Any) -> None:
        temporary, path = f"{self._root}/{_TEMPORARY}/{uuid4().hex}", f"{self._root}/{name}"
        with self._named("written"):
            for folder in (temporary, path):
                self._files.create_dir(folder.rpartition("/")[0], recursive=True)
            with self._files.open_output_stream(temporary) as stream:
                stream.write(content)
            self._files.move(temporary, path)

    @contextmanager
    def _named(self, done: str) -> Iterator[None]:
        """Errors of the file system as one line that names the run; not of files that are not there."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise ModerationError(f"{self.uri}: cannot be {done}: {reason_of(error)}") from None


def progress_of(folder: RunFolder, known: dict[int, BlockMarker]) -> tuple[Counts, Cost]:
    """Counts and cost of the blocks that are done, by their markers; `known` keeps those that were read before."""
    for number in folder.done() - known.keys():
        known[number] = folder.marker(number)
    return total_counts(marker.counts for marker in known.values()), total_cost(
        marker.cost for marker in known.values()
    )
