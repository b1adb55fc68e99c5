"""Every form of file gives the same rows, in blocks that are read in any order, and never an error's text."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from pyarrow import csv as arrow_csv
from pyarrow import feather, fs, ipc, parquet

from schemas.errors import ConfigurationError, ModerationError
from schemas.reasons import Reason
from tests.workers.audit.scripted_lane import plan_of, surveyed
from workers.audit.rows.block_rows import BlockRows
from workers.audit.rows.blocks import plan_files
from workers.files import csv_rows, locations
from workers.files.csv_dialect import DialectAsked
from workers.files.locations import filesystem_of, find_files
from workers.files.row_values import Malformed

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
    "a.json": lambda path: path.write_bytes(json.dumps(ROWS, indent=1).encode()),
    "a.json.gz": lambda path: path.write_bytes(
        gzip.compress(json.dumps({"a": ROWS[:9], "b": [], "c": ROWS[9:]}).encode())
    ),
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
    plan = plan_of(tmp_path / name, 5, lookback)
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


def test_a_line_that_is_no_object_is_named_by_its_number(tmp_path: Path) -> None:
    lines = [b'{"body": "a", "id": "1"}', b"{broken", b"", b"[1]", b'\xff{"body"', b'{"id": "2"}']
    (tmp_path / "a.jsonl").write_bytes(b"\r\n".join(lines))
    plan = plan_of(tmp_path / "a.jsonl", 10, 0)
    rows, _ = BlockRows(WANTED, 0).read(plan.blocks[0])

    assert [rows[0], rows[-1]] == [("a", "1"), (None, "2")]
    broken = [row for row in rows if isinstance(row, Malformed)]
    assert [(row.line, row.reason) for row in broken] == [
        (2, Reason.INVALID_JSON),
        (4, Reason.WRONG_TYPE),
        (5, Reason.NOT_UTF8),
    ]
    assert plan.inputs[0].malformed == 3  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.parquet", b"secret words"),
        ("a.feather", b"secret words"),
        ("a.jsonl.gz", b"secret words"),
        ("a.json", b"secret words"),
    ],
)
def test_p10_a_file_that_cannot_be_read_is_named_and_not_quoted(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"{name}: cannot be read as") as caught:
        plan_of(tmp_path / name, 10, 0)

    assert "secret" not in str(caught.value)


def test_a_file_that_lost_rows_since_it_was_planned_stops_the_run(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(_jsonl())
    plan = plan_of(path, 50, 0)
    path.write_bytes(b'{"body": "b"}\n')

    with pytest.raises(ModerationError, match="has changed since the run was planned"):
        BlockRows(WANTED, 0).read(plan.blocks[0])


def test_folders_and_globs_find_files_by_their_ends_and_leave_hidden_ones_out(tmp_path: Path) -> None:
    for name in ("x/a.jsonl", "x/y/b.csv", "x/y/c.txt", "x/_SUCCESS.csv", "x/.h/d.jsonl", "x/_t/e.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        arrow_csv.write_csv(pa.table({"text": ["a"]}), tmp_path / name)

    def names(*arguments: str) -> list[str]:
        return [
            found.name
            for found in find_files([f"{tmp_path}/{argument}" for argument in arguments], (".jsonl", ".csv")).found
        ]

    assert names("x") == ["a.jsonl", "y/b.csv"]
    assert names("x/*.jsonl") == ["a.jsonl"]
    assert names("x/**/*.csv") == ["y/b.csv"]
    assert names("x/**/[ab].*", "x/a.jsonl") == ["a.jsonl", "y/b.csv"]
    assert names("x/?/b.csv") == ["y/b.csv"]
    with pytest.raises(ConfigurationError, match="no file there"):
        names("x/*.parquet")
    with pytest.raises(ConfigurationError, match="absent: cannot be read: No such file or directory"):
        names("absent")


def test_uris_find_files_and_can_be_read_again_whatever_stands_in_their_names(tmp_path: Path) -> None:
    (tmp_path / "a b#c").mkdir()
    WRITERS["a.csv"](tmp_path / "a b#c" / "50%?.csv")
    for argument in (f"file://{tmp_path}/a%20b%23c", f"file://{tmp_path}/**/*.csv", f"file://{tmp_path}/**/5[0]*.csv"):
        plan = plan_of(argument, 60, 0)
        rows, _ = BlockRows(WANTED, 0).read(plan.blocks[0])

        assert plan.blocks[0].uri == f"file://{tmp_path}/a%20b%23c/50%25%3F.csv"
        assert rows == EXPECTED


@pytest.mark.parametrize("where", ["s3://bucket", "gs://anonymous@bucket", "abfs://box@name.dfs.core.windows.net/in"])
def test_a_uri_keeps_where_it_leads_and_its_options_and_none_has_a_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str
) -> None:
    asked: list[str] = []

    def filesystem_of(uri: str) -> tuple[Any, str]:
        asked.append(uri)
        return fs.LocalFileSystem(), str(tmp_path)

    WRITERS["a.csv"](tmp_path / "a.csv")
    monkeypatch.setattr(locations, "filesystem_of", filesystem_of)
    ((found,), _) = find_files([f"{where}/*.csv?region=eu-west-1&scheme=http"], (".csv",))
    monkeypatch.undo()

    assert asked == [f"{where}?region=eu-west-1&scheme=http"]
    assert found == (f"{where}/a.csv?region=eu-west-1&scheme=http", "a.csv")
    for uri in ("s3://key:secret@bucket/x", "s3://key:secret%2F@bucket"):
        with pytest.raises(ConfigurationError, match="s3://…@…: a URI with a password") as caught:
            find_files([uri], (".csv",))
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/p?access_key=AK&secret_key=canary",
        "s3://bucket/p?secret%5Fkey=canary",
        "s3://bucket/p?region=eu&session_token=canary",
        "abfs://container@a.dfs.core.windows.net/p?client_id=x&tenant_id=y&client_secret=canary",
        "abfss://container@a.dfs.core.windows.net/p?account_key=canary",
        "abfs://container@a.dfs.core.windows.net/p?sas_token=canary",
        "https://a.blob.core.windows.net/c/p?sv=1&sig=canary",
        "abfs://account:canary@.core.windows.net/c/p",
        "hdfs://u:canary@h:1/p",
        "gs://canary@bucket/p",
        "s3://bucket/p?unheard_of=canary",
    ],
)
def test_p10_a_uri_with_a_secret_is_refused_and_not_quoted(uri: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        filesystem_of(uri)

    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("uri", ["s3://bucket/p?region=us-east-1&scheme=http", "gs://anonymous@bucket/p"])
def test_a_uri_without_a_secret_is_taken(uri: str) -> None:
    assert filesystem_of(uri)[1] == "bucket/p"


def test_a_stray_quote_takes_neither_other_rows_nor_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_rows, "LARGEST_ROW_BYTES", 1_000)
    (tmp_path / "a.csv").write_text('body,id\na,1\n"oops,2\n' + "b,3\n" * 500, encoding="utf-8")
    told = surveyed(tmp_path / "a.csv", block_rows=1_000, dialect=DialectAsked(quote='"'))
    (block,) = plan_files(told, 1_000, 0).blocks
    rows, _ = BlockRows(WANTED, 0).read(block)

    assert rows[0] == ("a", "1")
    assert isinstance(rows[1], Malformed)
    assert (rows[1].line, rows[1].reason) == (3, Reason.EVENT_TOO_LARGE)
    assert rows[2:] == [("b", "3")] * 500


def test_times_as_spark_and_hive_write_them_are_what_they_were(tmp_path: Path) -> None:
    moments = [datetime(1600, 1, 1), datetime(2026, 1, 2, 3, 4, 5, 6), datetime(9999, 12, 31, 23)]
    table = pa.table({"at": pa.array(moments, pa.timestamp("us"))})
    parquet.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    plan = plan_of(tmp_path / "a.parquet", 10, 0)
    rows, _ = BlockRows(("at",), 0).read(plan.blocks[0])

    assert rows == [(moment,) for moment in moments]


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for name in ("a.jsonl", "x/a.jsonl"):
        (tmp_path / name).write_bytes(_jsonl())

    with pytest.raises(ConfigurationError, match=r"both would be called a\.jsonl"):
        find_files([str(tmp_path / "x"), str(tmp_path / "a.jsonl")], (".jsonl",))
