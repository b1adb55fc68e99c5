"""Files as people have them: written by Excel, Spark, BigQuery and Discord, in folders that grew over years.

Each case broke once: a row was cut and judged, a column was overlooked, a file was not read, and nothing said so.
"""

from __future__ import annotations

import gzip
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from pyarrow import parquet

from schemas.errors import ConfigurationError
from tests.workers.audit.scripted_lane import resolved, surveyed
from workers.audit.rows.block_rows import BlockRows
from workers.audit.rows.blocks import Plan, plan_files
from workers.audit.rows.columns import Columns
from workers.files import text_lines
from workers.files.csv_dialect import DialectAsked
from workers.files.locations import find_files
from workers.files.row_values import LARGEST_ROW_BYTES, Malformed

TEXT = "the skarnade murkblade"


def read(
    *paths: Path, wanted: tuple[str, ...] = ("event_id", "text"), block_rows: int = 2, **asked: str
) -> tuple[list[Any], Plan]:
    """All rows, malformed ones as reason and line; and the plan."""
    plan = plan_files(
        surveyed(*paths, block_rows=block_rows, dialect=DialectAsked(**asked).checked()), block_rows, lookback=0
    )
    found: list[Any] = []
    # Backwards, so that each block is entered in the middle of its file.
    for block in reversed(plan.blocks):
        found[:0] = BlockRows(wanted, 0).read(block)[0]
    return [(row.reason, row.line) if isinstance(row, Malformed) else row for row in found], plan


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_a_csv_row_with_a_field_too_many_is_named_by_its_line_and_never_cut(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", f"event_id,text\n1,{TEXT}\n2,have a nice day, {TEXT}\n3,ok\n4\n5,ok\n")
    rows, plan = read(path)

    assert rows == [("1", TEXT), ("malformed_row", 3), ("3", "ok"), ("malformed_row", 5), ("5", "ok")]
    assert plan.inputs[0].malformed == 2  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "content", "rows", "dialect"),
    [
        ("a.csv", f'event_id,text,who\n1,"see C:\\", {TEXT}",ann\n2,"ok",bob\n', [f'see C:", {TEXT}', "ok"], ',"\\'),
        (
            "a.csv",
            'event_id,text\n1,"he said \\"go away\\" to me"\n2,"ok"\n',
            ['he said "go away" to me', "ok"],
            ',"\\',
        ),
        ("a.csv", 'event_id,text\n1,"he said ""go"" C:\\"\n2,ok\n', ['he said "go" C:\\', "ok"], ',"-'),
        ("a.csv", f"event_id;text\n1;{TEXT}, all\n2;ok\n", [f"{TEXT}, all", "ok"], ';"-'),
        ("a.csv", f"event_id\ttext\n1\t{TEXT}\n2\tok\n", [TEXT, "ok"], '\t"-'),
        ("a.tsv", 'event_id\ttext\n1\t"go" away\n2\t"oops\n', ['"go" away', '"oops'], "\t--"),
        ("a.csv", "event_id,text\n1,a;b;c\n2,ok\n", ["a;b;c", "ok"], ',"-'),
        ("a.csv", f'\ufeffsep=;\r\nevent_id;text\r\n1;"{TEXT}, all"\r\n2;ok\r\n', [f"{TEXT}, all", "ok"], ';"-'),
        ("a.csv", '"sep=|"\nevent_id|text\n1|a,b;c\n2|ok\n', ["a,b;c", "ok"], '|"-'),
        ("a.CSV", "event_id,text\n1,a\u2028b\x0bc\n2,ok\n", ["a\u2028b\x0bc", "ok"], ',"-'),
    ],
)
def test_the_dialect_of_a_file_is_found_and_shown(
    tmp_path: Path, name: str, content: str, rows: list[str], dialect: str
) -> None:
    found, plan = read(write(tmp_path / name, content))

    assert found == [("1", rows[0]), ("2", rows[1])]
    said = plan.inputs[0].dialect  # type: ignore[union-attr]
    assert said is not None
    assert "".join(said[name] or "-" for name in ("delimiter", "quote", "escape")) == dialect


def test_a_told_dialect_is_taken_and_a_wrong_one_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "event_id~text\n1~'a~b'\n")
    assert read(path, delimiter="~", quote="'")[0] == [("1", "a~b")]
    path = write(tmp_path / "b.csv", "event_id,text\n1,gr\xfc\xdfe\n".encode("latin-1"))
    assert read(path, encoding="latin-1")[0] == [("1", "grüße")]
    assert read(path)[0] == [("not_utf8", 2)], "and never a text with a letter less"
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"):
        assert read(write(tmp_path / "c.csv", "event_id,text\n1,grüße\n".encode(encoding)))[0] == [("1", "grüße")]
    for asked, said in (
        ({"delimiter": "ab"}, "--delimiter 'ab': one"),
        ({"quote": "ä"}, "--quote 'ä'"),
        ({"delimiter": "none"}, "--delimiter 'none'"),
        ({"encoding": "utf-99"}, "--encoding utf-99: there is no such"),
        ({"encoding": "base64"}, "--encoding base64: there is no such"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            DialectAsked(**asked).checked()


def test_a_quote_that_is_never_closed_takes_no_other_row_with_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", f'event_id,text\n1,"open\n2,{TEXT}\n3,"two\nlines"\n4,ok\n')
    rows, _ = read(path, quote='"', escape="none")

    # The second quote closes the first one, and the row is off the form.
    assert rows[0] == ("malformed_row", 2)
    assert ("2", TEXT) in rows
    assert ("4", "ok") in rows


@pytest.mark.parametrize("swapped", [False, True])
def test_a_column_counts_whichever_row_has_it_first(tmp_path: Path, swapped: bool) -> None:
    rows = [{"event_id": "a", "text": "ok"}, {"event_id": "b", "text": TEXT, "tenant": "kids"}]
    path = write(tmp_path / "a.jsonl", lines(*rows[:: -1 if swapped else 1]))

    assert resolved({}, path).by_field == {"id": "event_id", "tenant": "tenant", "text": "text"}
    assert sorted(read(path, wanted=("event_id", "tenant"))[0]) == [("a", None), ("b", "kids")]


def test_columns_are_the_union_over_files_of_all_years_and_forms(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"event_id": ["1"], "text": ["a"]}), tmp_path / "2023.parquet")
    parquet.write_table(pa.table({"event_id": ["2"], "text": ["b"], "tenant": ["kids"]}), tmp_path / "2024.parquet")
    write(tmp_path / "2025.csv", "text,org\nc,x\n")
    columns = resolved({"language": "org"}, tmp_path)

    assert columns.by_field == {"id": "event_id", "tenant": "tenant", "text": "text", "language": "org"}
    rows, _ = read(tmp_path, wanted=columns.wanted)
    assert rows == [("1", None, "a", None), ("2", "kids", "b", None), (None, None, "c", "x")]


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_column_that_is_there_twice_is_refused_by_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        parquet.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), path)
    else:
        write(path, "text,text\na,b\n")
    with pytest.raises(ConfigurationError, match=rf"a\.{suffix}: has the column 'text' twice"):
        resolved({}, path)


def test_a_mapping_that_no_row_fits_and_a_file_with_nothing_to_judge_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", lines({"text": "a"}, {"text": "b", "org": "x"}))
    assert resolved({"tenant": "org"}, path).by_field["tenant"] == "org"
    with pytest.raises(ConfigurationError, match="no column 'orgs'; there are text, org"):
        resolved({"tenant": "orgs"}, path)
    write(tmp_path / "b.jsonl", lines({"comment": "a"}))
    with pytest.raises(ConfigurationError, match=r"b\.jsonl: nothing to judge: no column 'text'; there are comment"):
        resolved({}, tmp_path)


def test_folders_that_hold_columns_and_nested_fields_can_be_mapped(tmp_path: Path) -> None:
    table = pa.table({"message": [{"body": TEXT, "by": {"id": "u1"}}], "a.b": ["dotted"]})
    (tmp_path / "org=kids%20one/dt=2024-01-01").mkdir(parents=True)
    parquet.write_table(table, tmp_path / "org=kids%20one/dt=2024-01-01/p.parquet")
    mapping = {"tenant": "org", "time": "dt", "text": "message.body", "id": "message.by.id", "language": "a.b"}
    columns = resolved(mapping, tmp_path)

    assert read(tmp_path, wanted=columns.wanted)[0] == [("u1", "kids one", "2024-01-01", TEXT, "dotted")]
    path = write(tmp_path / "x/a.jsonl", lines({"message": {"body": "x"}}, {"message": None}, {"message.body": "y"}))
    assert read(path, wanted=("message.body",))[0] == [("x",), (None,), ("y",)]
    assert resolved({"text": "message.body"}, path).wanted == ("message.body",)


def test_a_bom_costs_no_row(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + lines({"event_id": "1", "text": TEXT}).encode()
    assert read(write(tmp_path / "a.jsonl", content * 2))[0] == [("1", TEXT)] * 2
    packed = b"".join(gzip.compress(content) for _ in range(3))
    assert read(write(tmp_path / "b.jsonl.gz", packed))[0] == [("1", TEXT)] * 3
    assert read(write(tmp_path / "c.json", b"\xef\xbb\xbf" + json.dumps([{"event_id": "1"}]).encode()))[0] == [
        ("1", None)
    ]


HALF = "great day \ud83d"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b'{"event_id": "1", "text": "great day \\ud83d"}\n{"event_id": "2", "text": "ok"}\n'),
        ("a.json", b'[{"event_id": "1", "text": "great day \\ud83d"}, {"event_id": "2", "text": "ok"}]'),
        ("a.jsonl", b'{"event_id": "1", "text": "great day \xed\xa0\xbd"}\n{"event_id": "2", "text": "ok"}\n'),
        ("a.jsonl", f'{{"event_id": "1", "text": "{HALF}"}}\n{{"event_id": "2", "text": "ok"}}\n'),
        ("a.csv", f"event_id,text\n1,{HALF}\n2,ok\n"),
        ("b.csv", b"event_id,text\n1,great day \xed\xa0\xbd\n2,ok\n"),
    ],
)
def test_half_an_emoji_is_no_way_to_escape_judgement_and_costs_no_row(
    tmp_path: Path, name: str, content: str | bytes
) -> None:
    # As text it is written in UTF-16, as Windows does.
    raw = content if isinstance(content, bytes) else content.encode("utf-16", "surrogatepass")

    assert read(write(tmp_path / name, raw))[0] == [("1", HALF), ("2", "ok")]


def test_bytes_that_mean_nothing_in_an_encoding_cost_their_row_only(tmp_path: Path) -> None:
    rows = f"event_id,text\n1,{TEXT} 你好\n2,".encode("gbk") + b"\xff\xff\n3,ok\n"
    found, plan = read(write(tmp_path / "a.csv", rows), encoding="gbk")

    assert found == [("1", f"{TEXT} 你好"), ("not_utf8", 3), ("3", "ok")]
    assert plan.inputs[0].malformed == 1  # type: ignore[union-attr]


def test_a_line_is_read_as_a_live_record_s_value(tmp_path: Path) -> None:
    """A JSON text within JSON, control characters, a number without measure; and what is no event has live's reason."""
    row = {"event_id": "1", "text": "a\tb"}
    for said in (json.dumps(json.dumps(row)), '{"event_id": "1", "text": "a\tb", "n": ' + "9" * 5_000 + "}"):
        assert read(write(tmp_path / "a.jsonl", said + "\n" + json.dumps(row)))[0] == [("1", "a\tb")] * 2
    lines = b'null\n[1]\n{"event_id": 1\n\xff\n' + b"[" * 100_000 + b"\n"
    reasons = ["tombstone", "wrong_type", "invalid_json", "not_utf8", "nested_too_deeply"]
    assert read(write(tmp_path / "b.jsonl", lines))[0] == [(reason, line) for line, reason in enumerate(reasons, 1)]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "event_id,text,prénom\n1,a,b\n".encode("latin-1"), "the header, line 1: not UTF-8; see --encoding"),
        ("a.csv", b"event_id,text\r1,secret\r", "the header, line 1: new-line character seen in unquoted field"),
        ("a.json", b'[{"text": "secret"}', "not the JSON that it began as"),
    ],
)
def test_what_is_wrong_with_a_whole_file_is_said_without_a_word_of_it(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        surveyed(write(tmp_path / name, content))
    assert f"cannot be read as {name[2:]}: {said}" in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_column_is_seen_however_many_names_the_rows_before_it_have(tmp_path: Path) -> None:
    scores = {"text": "a", "scores": {f"user{number}": 1 for number in range(12_000)}}
    late = {"text": "b", "tenant": "kids", "scores": {"zz": 1}}

    assert resolved({}, write(tmp_path / "a.jsonl", lines(scores, late))).by_field == {
        "tenant": "tenant",
        "text": "text",
    }


def table(path: Path, **columns: Any) -> Path:
    parquet.write_table(pa.table(columns), path)
    return path


def test_a_value_of_a_table_that_python_cannot_hold_costs_no_row_beside_it(tmp_path: Path) -> None:
    no_text = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\3\0\0\0\5\0\0\0"), pa.py_buffer(b"a\xffbok")]
    )
    path = table(tmp_path / "a.parquet", event_id=["1", "2"], text=no_text)
    assert read(path)[0] == [("1", b"a\xffb"), ("2", "ok")], "which the event's reader refuses by name"
    mars = pa.array([1, None], pa.timestamp("us", tz="Mars/Phobos"))
    path = table(tmp_path / "b.parquet", event_id=mars, text=["a", "b"])
    assert read(path)[0] == [(datetime(1970, 1, 1, 0, 0, 0, 1), "a"), (None, "b")]
    turns = pa.list_(pa.struct([("content", pa.string()), ("at", pa.timestamp("us"))]))
    path = table(
        tmp_path / "c.parquet", text=pa.array([[{"content": "x", "at": 1_515_151_515_151_515_151}], []], turns)
    )
    assert read(path)[0] == [(None, [{"content": "x", "at": {}}]), (None, [])]


def test_maps_and_numbers_of_tables_are_read_as_what_they_mean(tmp_path: Path) -> None:
    turns = pa.list_(pa.map_(pa.string(), pa.string()))
    path = table(
        tmp_path / "a.parquet",
        event_id=pa.array([7.0, float("nan")]),
        text=pa.array([[[("role", "user"), ("content", "x")]], []], turns),
    )
    assert read(path)[0] == [(7.0, [{"role": "user", "content": "x"}]), (None, [])]


def test_all_files_of_a_folder_are_read_or_named(tmp_path: Path) -> None:
    for name in ("a.jsonl", "B.JSONL", "_general.jsonl", ".hidden.jsonl"):
        write(tmp_path / name, lines({"event_id": name, "text": TEXT}))
    write(tmp_path / "C.CSV", f"event_id,text\nC.CSV,{TEXT}\n")
    write(tmp_path / "x.json", json.dumps([{"event_id": "x.json", "text": TEXT}]))
    write(tmp_path / "notes.txt", "")
    write(tmp_path / "run/verdicts/a.parquet", "")
    plan = plan_files(surveyed(tmp_path / "a.jsonl"), 10, 0)
    found = find_files([str(tmp_path)], (".jsonl", ".json", ".csv", ".parquet"), str(tmp_path / "run"))

    assert [item.name for item in found.found] == ["B.JSONL", "C.CSV", "a.jsonl", "x.json"]
    said = {Path(item.uri).name: item.why for item in found.left_out}
    assert said == {
        "_general.jsonl": "hidden",
        ".hidden.jsonl": "hidden",
        "notes.txt": "none of the forms that are read",
        "run": "the run itself",
    }
    assert plan.left_out == ()
    assert resolved({}, *(Path(item.uri) for item in found.found)).by_field == {"id": "event_id", "text": "text"}


def test_a_link_shows_no_file_twice(tmp_path: Path) -> None:
    write(tmp_path / "in/a.jsonl", lines({"text": "a"}))
    write(tmp_path / "elsewhere/b.jsonl", lines({"text": "b"}))
    (tmp_path / "in/parent").symlink_to("..")
    (tmp_path / "in/self").symlink_to(".")
    (tmp_path / "in/again.jsonl").symlink_to("a.jsonl")
    (tmp_path / "in/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/dangling.jsonl").symlink_to("nowhere.jsonl")
    found = find_files([str(tmp_path / "in")], (".jsonl",))

    assert [item.name for item in found.found] == ["a.jsonl", "linked/b.jsonl"]
    assert sorted(Path(item.uri).name for item in found.left_out) == [
        "again.jsonl",
        "dangling.jsonl",
        "parent",
        "self",
    ]


def test_a_path_that_is_there_is_no_glob(tmp_path: Path) -> None:
    path = write(tmp_path / "My Server - general [123456789].csv", "Content\nhello\n")
    write(tmp_path / "[x]/1.csv", "Content\na\n")

    assert [item.uri for item in find_files([str(path)], (".csv",)).found] == [str(path)]
    assert [item.name for item in find_files([f"{tmp_path}/[x]/*.csv"], (".csv",)).found] == ["1.csv"]
    assert [item.name for item in find_files([f"{tmp_path}/[xyz[]*/*.csv"], (".csv",)).found] == ["[x]/1.csv"]


def test_zstd_of_any_window_and_of_many_frames_is_read_and_never_half(tmp_path: Path) -> None:
    content = lines({"event_id": "1", "text": TEXT}).encode()
    wide = zstandard.ZstdCompressionParameters(window_log=30, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=wide).compressobj()  # without the size, so with the window
    packed = packer.compress(content) + packer.flush()
    assert zstandard.get_frame_parameters(packed).window_size == 2**30
    rows, plan = read(write(tmp_path / "a.jsonl.zst", packed * 2))
    assert rows == [("1", TEXT)] * 2
    assert plan.inputs[0].bytes == 2 * len(packed), "the file's own, not what is in it"  # type: ignore[union-attr]
    for cut in (packed[:-3], packed + packed[:9]):
        with pytest.raises(ConfigurationError, match="cannot be read as jsonl: EOFError"):
            surveyed(write(tmp_path / "b.jsonl.zst", cut))


def test_a_huge_line_is_one_dead_letter_and_its_neighbours_are_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    read_line = text_lines.Lines.read

    def measured(self: text_lines.Lines) -> tuple[bytes, int]:
        line, size = read_line(self)
        asked.append(len(line))
        return line, size

    monkeypatch.setattr(text_lines.Lines, "read", measured)
    row = lines({"event_id": "1", "text": TEXT}).encode()
    huge = b'{"text": "' + b"a" * (3 * LARGEST_ROW_BYTES) + b'"}\n'
    rows, _ = read(write(tmp_path / "a.jsonl.gz", gzip.compress(row + huge + row, 1)))

    assert rows == [("1", TEXT), ("event_too_large", 2), ("1", TEXT)]
    assert max(asked) == LARGEST_ROW_BYTES + 1


def test_json_documents_are_lists_objects_of_lists_single_rows_and_lines(tmp_path: Path) -> None:
    one, two = {"event_id": "1", "text": "a"}, {"event_id": "2", "text": "b"}
    long = [{**row, "more": "x" * 100_000} for row in (one, two)]
    forms = [json.dumps([one, two]), json.dumps({"x": [one], "y": [two]}), lines(one, two), "\n" + lines(*long)]
    for content in (*forms, lines({**one, "half": "\ud83d"}, two)):
        assert read(write(tmp_path / "a.json", content))[0] == [("1", "a"), ("2", "b")]
    assert read(write(tmp_path / "a.json", json.dumps(one, indent=1)))[0] == [("1", "a")]
    assert read(write(tmp_path / "a.json", json.dumps([one, 5])))[0] == [("1", "a"), ("wrong_type", 2)]
    chat = {"messages": [{"role": "user", "content": "a"}]}
    assert read(write(tmp_path / "a.json", json.dumps(chat)), wanted=("messages",))[0] == [(chat["messages"],)]
    assert Columns.resolve({}, surveyed(tmp_path / "a.json").files, None).by_field == {"messages": "messages"}
