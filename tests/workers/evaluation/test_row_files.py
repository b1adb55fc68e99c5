"""Rows of files in all their forms, and one line for a file that cannot be read."""

import bz2
import gzip
import json
import lzma
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from schemas.errors import ConfigurationError
from workers.evaluation.row_files import RowFile
from workers.files.csv_dialect import DialectAsked

ROWS = [{"text": "a\u2028b", "label": 1}, {"text": 'say "hi",\nyou', "label": 0}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
}


def rows(path: Path) -> list[dict[str, object]]:
    return [row for _, row in RowFile(path).rows()]


@pytest.mark.parametrize("packed", PACKERS)
@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".jsonl", LINES),
        (".ndjson", "\ufeff" + LINES.replace("\n", "\n\n")),
        (".json", json.dumps(ROWS)),
        (".json", LINES),
        (".json", json.dumps({"one": ROWS[:1], "other": ROWS[1:]})),
    ],
)
def test_json_in_all_its_forms(tmp_path: Path, suffix: str, content: str, packed: str) -> None:
    path = tmp_path / f"my.v1.data{suffix}{packed}"
    path.write_bytes(PACKERS[packed](content.encode()))
    assert rows(path) == ROWS


def test_csv_and_tsv(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,label\n"say ""hi"",\nyou",0\n', encoding="utf-8-sig")
    (tmp_path / "a.tsv").write_text(f"text\tlabel\n{'x' * 200_000}\t1\n", encoding="utf-8")
    assert rows(tmp_path / "a.csv") == [{"text": 'say "hi",\nyou', "label": "0"}]
    assert [len(str(row["text"])) for row in rows(tmp_path / "a.tsv")] == [200_000]


def test_parquet_with_nested_columns(tmp_path: Path) -> None:
    table = [{"message": [{"role": "user", "content": "a"}], "flags": {"x": True}, "label": None}] * 3_000
    parquet.write_table(pyarrow.Table.from_pylist(table), tmp_path / "a.parquet")
    assert rows(tmp_path / "a.parquet") == table


def test_one_json_object_is_one_row(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"text": "a", "label": 1}')
    assert list(RowFile(tmp_path / "a.json").rows()) == [(1, {"text": "a", "label": 1})]


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("a.jsonl", b'{"text": "secret"\n', "line 1: value: not JSON, at character 18 of 18"),
        ("a.jsonl", b'{"a": 1}\n\n{"text": secret}\n', "line 3: value: not JSON, at character 9"),
        ("a.jsonl", b'["secret"]\n', "line 1: value: a JSON object is needed, found list"),
        ("a.json", b'["secret"]', "line 1: value: a JSON object is needed, found str"),
        ("a.jsonl", b"\xffsecret\n", "line 1: value: not UTF-8 at byte 0"),
        ("a.csv", b"text,label\nsecret,0\nsecret, secret,1\n", "line 3: 3 fields, the header has 2"),
        ("a.csv", b"text,label\nsecret\xff,0\n", "line 2: not UTF-8; see --encoding"),
        ("a.csv", b"text,text\nsecret,0\n", "has the column 'text' twice"),
        ("a.jsonl.gz", b"secret", "cannot be read as jsonl: BadGzipFile"),
        ("a.parquet", b"secret", "cannot be read as parquet: ArrowInvalid"),
        ("a.txt", b"secret", "not one of .parquet"),
        ("a.gz", b"secret", "not one of .parquet"),
        ("secret", b"", "not one of .parquet"),
    ],
)
def test_what_cannot_be_read_is_named_but_not_quoted(tmp_path: Path, name: str, content: bytes, error: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        rows(path)
    assert error in str(caught.value)
    assert "secret" not in str(caught.value).replace(str(path), "")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.parquet"):
        with pytest.raises(ConfigurationError, match="No such file"):
            rows(tmp_path / name)


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet.write_table(pyarrow.table({"text": ["a"]}), tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "workers.files.arrow_tables", None)
    with pytest.raises(ConfigurationError, match=r"weir-moderation\[parquet\]"):
        rows(tmp_path / "a.parquet")


def test_rows_have_the_columns_of_all_rows_and_a_dialect_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": {"b": 1}}\n{"c": 2}\n')
    file = RowFile(tmp_path / "a.jsonl")
    assert file.columns == ("a", "a.b", "c")
    assert [row for _, row in file.rows()] == [{"a": {"b": 1}, "c": None}, {"a": None, "c": 2}]
    (tmp_path / "a.csv").write_bytes('text;label\n"a;b";ä\n'.encode("latin-1"))
    file = RowFile(tmp_path / "a.csv", DialectAsked(encoding="latin-1"))
    assert [row for _, row in file.rows()] == [{"text": "a;b", "label": "ä"}]
