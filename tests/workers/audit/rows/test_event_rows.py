"""Rows become the events that live traffic would have been, and what is wrong is refused as live refuses it."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import ipc, parquet

from pipelines.moderation import Admitted
from schemas.dead_letter import DeadLetter
from schemas.errors import ConfigurationError
from schemas.handling import Handled
from tests.workers.audit.scripted_lane import moderation, plan_of, resolved
from workers.audit.rows.block_rows import BlockRows
from workers.audit.rows.blocks import Block
from workers.audit.rows.columns import Columns, read_mapping
from workers.audit.rows.event_rows import AuditRecord, EventRows
from workers.files.row_values import Row

BLOCK = Block(0, "", "log.csv", 0, 10, 4)


def records(by_field: dict[str, str], *rows: Row, before: tuple[Any, ...] = ()) -> list[AuditRecord]:
    return list(EventRows(Columns(by_field)).records(BLOCK, rows, before))


def said(record: AuditRecord) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(record.record.value or b"")
    return content


def test_columns_become_the_fields_of_an_event() -> None:
    fields = {"id": "a", "conversation": "b", "tenant": "c", "time": "d", "text": "e", "language": "f"}
    (found,) = records(fields, (7, "c1", "acme", "2026-01-02T03:04:05+01:00", "hello", "en"))

    assert said(found) == {
        "event_id": 7,  # the event's reader makes a text of it, as of live traffic's
        "conversation_id": "c1",
        "tenant": "acme",
        "text": "hello",
        "created_at": "2026-01-02T03:04:05+01:00",
    }
    assert found[1:6] == ("7", "acme", datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC), "en", "")
    assert (found.record.topic, found.record.offset) == ("log.csv", 10)


def test_an_event_without_an_id_has_one_by_its_place() -> None:
    first, second = records({"text": "e"}, ("same",), ("same",))
    (again,) = records({"text": "e"}, ("other",))

    assert first.event_id != second.event_id
    assert first.event_id == again.event_id


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 1, 2, tzinfo=UTC),
        datetime(2026, 1, 2),
        date(2026, 1, 2),
        1_767_312_000,
        1_767_312_000_000,
        "1767312000",
        "2026-01-02T00:00:00Z",
        "2026-01-02",
    ],
)
def test_times_are_read_in_all_usual_forms(value: Any) -> None:
    (found,) = records({"time": "d", "text": "e"}, (value, "a"))

    assert found.occurred_at == datetime(2026, 1, 2, tzinfo=UTC)
    assert found.record.timestamp_ms == 1_767_312_000_000


@pytest.mark.parametrize("value", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:00:00-02:00"])
def test_a_time_that_utc_has_no_name_for_is_unknown_and_stops_nothing(value: str) -> None:
    (found,) = records({"time": "d", "text": "e"}, (value, "a"))

    assert (found.occurred_at, found.record.timestamp_ms) == (None, 0)
    assert said(found)["created_at"] == value  # which live traffic takes
    assert isinstance(moderation().admit(found.record), Admitted)


@pytest.mark.parametrize(
    "kind", [pa.timestamp("s"), pa.timestamp("ms", "UTC"), pa.timestamp("us", "-05:00"), pa.date32()]
)
def test_a_row_whose_time_no_calendar_has_is_judged_without_one(tmp_path: Path, kind: Any) -> None:
    number = pa.array(
        [1, 2**30 if kind == pa.date32() else 2**59, 1], pa.int32() if kind == pa.date32() else pa.int64()
    )
    path = tmp_path / "a.arrow"
    table = pa.table({"text": ["a", "b", "c"], "created_at": number.cast(kind)})
    with ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
    columns = resolved({}, path)
    (block,) = plan_of(path, 10, 0).blocks
    rows, _ = BlockRows(columns.wanted, 0).read(block)
    outcomes = [moderation().admit(item.record) for item in EventRows(columns).records(block, rows, ())]

    handling = [outcome.handling for outcome in outcomes if isinstance(outcome, Admitted)]
    assert handling == [{}, {Handled.CREATED_AT_UNREADABLE: 1}, {}]


@pytest.mark.parametrize(
    ("fields", "row", "reason"),
    [
        ({"text": "e"}, (None,), "blank_text"),
        ({"text": "e"}, ("  ",), "blank_text"),
        ({"text": "e"}, (5,), "wrong_type"),
        ({"text": "e"}, (b"\xff",), "not_utf8"),
        ({"id": "a", "text": "e"}, ("x" * 300, "a"), "invalid_value"),
        ({"role": "r", "text": "e"}, ("system", "a"), "unsupported_role"),
        ({"role": "r", "text": "e"}, ("assistant", "a"), "unsupported_role"),
        ({"messages": "m"}, ("{",), "wrong_type"),
        ({"messages": "m"}, ([],), "empty_messages"),
        ({"messages": "m"}, ([{"role": "user", "content": b"\xff"}],), "not_utf8"),
    ],
)
def test_what_is_wrong_with_a_row_is_refused_as_live_refuses_it(fields: dict[str, str], row: Row, reason: str) -> None:
    (found,) = records(fields, row)
    outcome = moderation().admit(found.record)

    assert isinstance(outcome, DeadLetter)
    assert outcome.reason == reason


def test_messages_are_taken_as_lists_and_as_json() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    for value in (turns, json.dumps(turns)):
        (found,) = records({"messages": "m"}, (value,))
        admitted = moderation().admit(found.record)
        assert isinstance(admitted, Admitted)
        assert list(admitted.requests[0].conversation) == turns


def test_an_answer_is_judged_with_the_last_question_of_its_conversation_whatever_the_blocks(tmp_path: Path) -> None:
    rows = [
        {"conversation_id": f"c{number % 3}", "role": "assistant" if number % 6 > 2 else "user", "text": f"t{number}"}
        for number in range(40)
    ]
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.Table.from_pylist(rows), path)
    columns = resolved({"role": "role"}, path)
    events = EventRows(columns)
    found: list[list[Any]] = []
    for block_rows in (1, 7, 40):
        reader = BlockRows(columns.wanted, events.lookback)
        plan = plan_of(path, block_rows, events.lookback)
        found.append([said(item) for block in plan.blocks for item in events.records(block, *reader.read(block))])

    assert found[0] == found[1] == found[2]
    assert found[0][5]["messages"] == [{"role": "user", "content": "t2"}, {"role": "assistant", "content": "t5"}]
    assert found[0][6]["text"] == "t6"


def test_columns_are_found_by_their_names_and_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": ["a"], "event_id": ["b"], "lang": ["en"]}), path)

    assert resolved({}, path).by_field == {"id": "event_id", "text": "text"}
    assert resolved({"language": "lang"}, path, stratum="lang").wanted == ("event_id", "text", "lang")
    with pytest.raises(ConfigurationError, match="no column 'body'; there are text, event_id, lang"):
        resolved({"text": "body"}, path)
    with pytest.raises(ConfigurationError, match="mapping txt: not one of id, conversation"):
        resolved({"txt": "text"}, path)
    parquet.write_table(pa.table({"body": ["a"]}), path)
    with pytest.raises(ConfigurationError, match="nothing to judge"):
        resolved({}, path)


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_empty_files_are_passed_by_wherever_they_stand(tmp_path: Path, suffix: str) -> None:
    for name, content in (("a", ""), ("b", '{"text": "x"}\n' if suffix == "jsonl" else "text\nx\n"), ("c", "")):
        (tmp_path / f"{name}.{suffix}").write_text(content, encoding="utf-8")
    columns = resolved({}, tmp_path)
    plan = plan_of(tmp_path, 10, 0)

    assert columns.by_field == {"text": "text"}
    assert [(block.name, block.rows) for block in plan.blocks] == [(f"b.{suffix}", 1)]
    (tmp_path / f"b.{suffix}").unlink()
    with pytest.raises(ConfigurationError, match="nothing to judge"):
        resolved({}, tmp_path)


def test_a_mapping_file_is_a_mapping_of_fields_to_columns(tmp_path: Path) -> None:
    path = tmp_path / "mapping.yaml"
    path.write_text("text: body\ntenant: who\n", encoding="utf-8")

    assert read_mapping(path) == {"text": "body", "tenant": "who"}
    for content, said in (
        ("- text", "not a mapping"),
        ("text: body\ntext: subject\n", "key 'text' is given twice"),
        ("text: [", "not YAML"),
        ("[" * 9_000, "not YAML"),
    ):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(ConfigurationError, match=said):
            read_mapping(path)


def test_no_tenant_is_judged_with_another_tenants_question_and_null_is_no_conversation() -> None:
    fields = {"id": "i", "conversation": "c", "tenant": "t", "role": "r", "text": "x"}
    found = records(
        fields,
        ("1", "42", "bank", "user", "secret of the bank"),
        ("2", "42", "game", "assistant", "sure, done"),
        ("3", None, "bank", "user", "asked in no conversation"),
        ("4", "None", "bank", "assistant", "said in one called None"),
        ("5", None, "bank", "assistant", "said in none"),
        ("6", "42", "bank", "assistant", "of the bank"),
    )

    alone = [said(found[number])["messages"] for number in (1, 3, 4)]
    assert [[turn["role"] for turn in messages] for messages in alone] == [["assistant"]] * 3
    assert [turn["content"] for turn in said(found[5])["messages"]] == ["secret of the bank", "of the bank"]
