"""Verdicts of a run on local disk, split by event id, so that two runs can be joined a part at a time.

Equal ids are in equal parts of both runs. Holds no text.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.verdict import Category, Severity
from workers.audit.report.counts import languages_of

SPOOLED = [
    "event_id",
    "source_topic",
    "source_partition",
    "source_offset",
    "tenant",
    "conversation_id",
    "language",
    "severity",
    "categories",
    "action",
    "text_sha256",
]
ORDER = tuple(severity.value for severity in Severity)
CATEGORIES = tuple(category.value for category in Category)
_ROWS_OF_PART = 200_000
_MOST_PARTS = 256  # as many files are open at once
_PLACE = ["source_topic", "source_partition", "source_offset"]


def parts_for(rows: int) -> int:
    """How many parts keep each small."""
    return max(1, min(_MOST_PARTS, -(-rows // _ROWS_OF_PART)))


def spool(batches: Iterable[Any], folder: Path, parts: int) -> int:
    """Write batches with the columns `SPOOLED` to a new folder; returns how many rows they had."""
    folder.mkdir()
    rows = 0
    writers: dict[int, Any] = {}
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with ExitStack() as stack:
        for batch in batches:
            rows += batch.num_rows
            coded = _coded(batch)
            part_of = np.fromiter((crc32(name.encode()) % parts for name in batch["event_id"].to_pylist()), np.int64)
            order = np.argsort(part_of, kind="stable")
            sorted_rows = coded.take(pa.array(order))
            for part, start, count in zip(
                *np.unique(part_of[order], return_index=True, return_counts=True), strict=True
            ):
                if part not in writers:
                    file = stack.enter_context(pa.OSFile(str(folder / str(part)), "wb"))
                    writers[part] = stack.enter_context(pa.ipc.new_stream(file, coded.schema, options=options))
                writers[part].write_batch(sorted_rows.slice(start, count))
    return rows


def read_part(folder: Path, part: int) -> Any | None:
    """The rows of one part, with a column `ordinal` that counts rows of one id from 0; None if the part is empty."""
    path = folder / str(part)
    if not path.exists():
        return None
    with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as stream:
        table = stream.read_all().combine_chunks()
    ids = table["event_id"]
    if pc.count_distinct(ids).as_py() == len(table):
        return table.append_column("ordinal", pa.array(np.zeros(len(table), np.int64)))
    # An id that came twice: its first verdict here belongs to its first there, in the order of the records.
    table = table.sort_by([(name, "ascending") for name in ("event_id", *_PLACE)]).combine_chunks()
    codes = table["event_id"].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    rows = np.arange(len(codes))
    begins = np.concatenate(([True], codes[1:] != codes[:-1]))
    return table.append_column("ordinal", pa.array(rows - np.maximum.accumulate(np.where(begins, rows, 0))))


def named_in(bits: int) -> list[str]:
    """The categories that a number of the column `categories` stands for."""
    return [category for bit, category in enumerate(CATEGORIES) if bits >> bit & 1]


def _coded(batch: Any) -> Any:
    """A batch with its severities as indices of `ORDER`, its categories as bits."""
    bits = np.zeros(batch.num_rows, np.int32)
    indices = pc.index_in(pc.list_flatten(batch["categories"]), value_set=pa.array(CATEGORIES))
    known = indices.is_valid().to_numpy(zero_copy_only=False)
    parents = pc.list_parent_indices(batch["categories"]).to_numpy(zero_copy_only=False)[known]
    named = indices.fill_null(0).to_numpy(zero_copy_only=False)[known]
    np.bitwise_or.at(bits, parents, np.left_shift(1, named).astype(np.int32))
    columns = {name: batch[name] for name in SPOOLED}
    columns["language"] = languages_of(batch)
    columns["severity"] = pc.index_in(batch["severity"], value_set=pa.array(ORDER))
    columns["categories"] = pa.array(bits)
    return pa.RecordBatch.from_pydict(columns)
