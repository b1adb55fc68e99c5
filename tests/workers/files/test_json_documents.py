"""A JSON document of any size is cut into the rows that parsing it as a whole gives, however it is read."""

from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import ConfigurationError
from schemas.reasons import Reason
from tests.workers.audit.scripted_lane import plan_of
from workers.audit.rows.block_rows import BlockRows
from workers.files import json_documents
from workers.files.json_documents import DocumentCursor, rows_in
from workers.files.row_values import Malformed

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(alphabet='a"\\{}[],:\né🙂')
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
OBJECTS = st.dictionaries(st.text(alphabet='ab"\\{'), VALUES, max_size=3)
DOCUMENTS = st.lists(OBJECTS | SCALARS) | st.dictionaries(st.text(), st.lists(OBJECTS)) | OBJECTS | SCALARS


class Piecewise(io.BytesIO):
    """Gives a few bytes at a time, so that every token is cut somewhere."""

    def __init__(self, content: bytes, most: int) -> None:
        super().__init__(content)
        self._most = most

    def read(self, _size: int | None = -1) -> bytes:
        return super().read(self._most)


def stream(content: bytes, most: int) -> Any:
    return Piecewise(content, most)


def parsed_whole(content: Any, rows_at: str | None) -> list[Any]:
    """The rows by the plain definition."""
    if isinstance(content, dict):
        if rows_at is not None and isinstance(content.get(rows_at), list):
            return list(content[rows_at])
        lists = content and all(
            isinstance(value, list) and all(isinstance(row, dict) for row in value) for value in content.values()
        )
        if lists and "messages" not in content:
            return [row for rows in content.values() for row in rows]
    return content if isinstance(content, list) else [content]


def opened(row: Any) -> Any:
    """A row that is JSON in writing is what it says, as a live record is."""
    if not isinstance(row, str) or not row.startswith("{"):
        return row
    try:
        return json.loads(row, strict=False)
    except ValueError:
        return row


@settings(max_examples=60)
@given(DOCUMENTS, st.sampled_from([None, "rows"]), st.integers(1, 9), st.sampled_from([None, 1]), st.booleans())
def test_the_rows_are_those_of_the_document_parsed_whole(
    document: Any, rows_at: str | None, most: int, indent: int | None, is_ascii: bool
) -> None:
    if rows_at and isinstance(document, dict):
        document = {**document, "rows": [{"a": 1}, 5], "end": [{}]}
    text = json.dumps(document, indent=indent, ensure_ascii=is_ascii).encode()
    names = ("a", "b")
    expected = [
        tuple(map(row.get, names)) if isinstance(row, dict) else "malformed"
        for row in map(opened, parsed_whole(document, rows_at))
    ]

    where = rows_in(stream(text, most), rows_at)
    cursor = DocumentCursor(stream(text, most), names, {}, 0, where, rows_at)
    marks, rows = [cursor.mark], []
    while taken := cursor.take(1):
        rows += taken
        marks.append(cursor.mark)
    found = ["malformed" if isinstance(row, Malformed) else row for row in rows]
    passed = DocumentCursor(stream(text, most), None, {}, 0, where, rows_at)

    assert found == expected
    assert passed.skip(len(expected) + 1) == len(expected)
    for number, mark in enumerate(marks[:-1]):  # every row can be entered
        entered = DocumentCursor(io.BufferedReader(io.BytesIO(text)), names, {}, number, where, rows_at, mark)  # type: ignore[arg-type]
        assert entered.take(len(expected)) == rows[number:]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[",
        b"[{}",
        b"[{}}",
        b"[{},]",
        b"[{} {}]",
        b'[{"a": "x}]',
        b"[{}] more",
        b'{"rows": [{}], "cut": ',
        b'{"rows": [{}]',
        b'{"a": [{}], "b": [{}',
        b"{} {}",
        b'{"a" 1}',
        b"{1: 2}",
    ],
)
def test_a_document_that_is_cut_short_or_none_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "a.json").write_bytes(text)

    with pytest.raises(ConfigurationError, match=r"a\.json: cannot be read as json"):
        plan_of(tmp_path / "a.json", 10, 0)


def test_a_row_that_cannot_be_read_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_documents, "LARGEST_ROW_BYTES", 1_000)
    huge = json.dumps({"body": "x" * 5_000}).encode()
    half = b'{"body": "\\ud83d"}'
    (tmp_path / "a.json").write_bytes(b'[{"body": "a"}, {broken}, ' + half + b", " + huge + b', {"body": "b"}]')
    plan = plan_of(tmp_path / "a.json", 10, 0)
    rows, _ = BlockRows(("body",), 0).read(plan.blocks[0])

    assert [rows[0], rows[2], rows[-1]] == [("a",), ("\ud83d",), ("b",)], "the event's reader replaces halves"
    found = [(row.line, row.reason) for row in rows if isinstance(row, Malformed)]
    assert found == [(2, Reason.INVALID_JSON), (4, Reason.EVENT_TOO_LARGE)]
    assert plan.inputs[0].malformed == 2  # type: ignore[union-attr]


def test_p9_memory_is_that_of_a_row_and_not_of_the_document(tmp_path: Path) -> None:
    row = json.dumps({"body": "x" * 50_000}).encode()
    (tmp_path / "a.json").write_bytes(b'{"guild": {}, "messages": [' + b",".join([row] * 800) + b"]}")  # 40 MB
    with (tmp_path / "a.json").open("rb") as raw:
        where = rows_in(raw, "messages")
    with (tmp_path / "a.json").open("rb") as raw:
        cursor = DocumentCursor(raw, ("body",), {}, 0, where, "messages")
        tracemalloc.start()
        try:
            rows = sum(1 for _ in iter(lambda: cursor.take(1), []))
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert rows == 800
    assert most < 8 * 2**20
