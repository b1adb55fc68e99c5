"""Every form of file gives the same rows, in blocks that are read in any order, and never an error's text."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from pyarrow import csv as arrow_csv
from pyarrow import feather, ipc, parquet

from schemas.errors import ConfigurationError, ModerationError
from workers.audit.block_rows import BlockRows
from workers.audit.blocks import plan_files
from workers.audit.locations import find_files

ROWS = [{"id": f"e{number}", "body": f'text, "{number}"\nünï', "other": str(number * 3)} for number in range(53)]
WANTED = ("body", "id")
EXPECTED = [(row["body"], row["id"]) for row in ROWS]


def _jsonl() -> bytes:
    return b"\n\n".join(json.dumps(row).encode() for row in ROWS) + b"\n"


def _csv(delimiter: str) -> bytes:
    import io

    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(ROWS[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return b"\xef\xbb\xbf" + stream.getvalue().encode()


def _stream(path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    with ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)


WRITERS: dict[str, Callable[[Path], Any]] = {
    "a.parquet": lambda path: parquet.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=9),
    "a.feather": lambda path: feather.write_feather(pa.Table.from_pylist(ROWS), path, chunksize=8),
    "a.arrow": _stream,
    "a.jsonl": lambda path: path.write_bytes(_jsonl()),
    "a.jsonl.gz": lambda path: path.write_bytes(gzip.compress(_jsonl())),
    "a.ndjson.zst": lambda path: path.write_bytes(zstandard.compress(_jsonl())),
    "a.csv": lambda path: path.write_bytes(_csv(",")),
    "a.csv.bz2": lambda path: path.write_bytes(bz2.compress(_csv(","))),
    "a.tsv.zst": lambda path: path.write_bytes(zstandard.compress(_csv("\t"))),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("lookback", [0, 13])
def test_blocks_are_the_rows_in_any_order_of_reading(tmp_path: Path, name: str, lookback: int) -> None:
    WRITERS[name](tmp_path / name)
    plan = plan_files([str(tmp_path / name)], 5, lookback, lambda _done, _all: None)
    orders = [list(plan.blocks), list(reversed(plan.blocks)), Random(1).sample(plan.blocks, len(plan.blocks))]
    orders.append([*plan.blocks[::2]])

    assert [block.number for block in plan.blocks] == list(range(11))
    assert plan.rows == plan.inputs[0].rows == len(ROWS)  # type: ignore[union-attr]
    for order in orders:
        reader = BlockRows(WANTED, lookback)
        for block in order:
            rows, before = reader.read(block)
            assert rows == EXPECTED[block.start : block.start + block.rows]
            assert before == EXPECTED[max(0, block.start - lookback) : block.start]


def test_a_line_that_is_no_object_is_a_row_of_its_bytes(tmp_path: Path) -> None:
    lines = [b'{"body": "a", "id": "1"}', b"{broken", b"[1]", b'\xff{"body"', b'{"id": "2"}']
    (tmp_path / "a.jsonl").write_bytes(b"\r\n".join(lines))
    plan = plan_files([str(tmp_path / "a.jsonl")], 10, 0, lambda _done, _all: None)
    rows, _ = BlockRows(WANTED, 0).read(plan.blocks[0])

    assert rows == [("a", "1"), b"{broken", b"[1]", b'\xff{"body"', (None, "2")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.parquet", b"secret words"),
        ("a.feather", b"secret words"),
        ("a.jsonl.gz", b"secret words"),
        ("a.csv", b'a,b\n"secret words'),
    ],
)
def test_p10_a_file_that_cannot_be_read_is_named_and_not_quoted(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"{name}: cannot be read as") as caught:
        plan_files([str(tmp_path / name)], 10, 0, lambda _done, _all: None)

    assert "secret" not in str(caught.value)


def test_a_file_that_lost_rows_since_it_was_planned_stops_the_run(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(_jsonl())
    plan = plan_files([str(path)], 50, 0, lambda _done, _all: None)
    path.write_bytes(b'{"body": "b"}\n')

    with pytest.raises(ModerationError, match="ends before row 50"):
        BlockRows(WANTED, 0).read(plan.blocks[0])


def test_folders_and_globs_find_files_by_their_ends_and_leave_hidden_ones_out(tmp_path: Path) -> None:
    for name in ("x/a.jsonl", "x/y/b.csv", "x/y/c.txt", "x/_SUCCESS.csv", "x/.h/d.jsonl", "x/_t/e.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        arrow_csv.write_csv(pa.table({"text": ["a"]}), tmp_path / name)

    def names(*arguments: str) -> list[str]:
        return [
            found.name for found in find_files([f"{tmp_path}/{argument}" for argument in arguments], (".jsonl", ".csv"))
        ]

    assert names("x") == ["a.jsonl", "y/b.csv"]
    assert names("x/*.jsonl") == ["a.jsonl"]
    assert names("x/**/*.csv") == ["y/b.csv"]
    assert names("x/**/[ab].*", "x/a.jsonl") == ["a.jsonl", "y/b.csv"]
    assert names("x/?/b.csv") == ["y/b.csv"]
    with pytest.raises(ConfigurationError, match="no file there"):
        names("x/*.parquet")
    arrow_csv.write_csv(pa.table({"text": ["a"]}), tmp_path / "a.jsonl")
    with pytest.raises(ConfigurationError, match=r"both would be called a\.jsonl"):
        names("x", "a.jsonl")
