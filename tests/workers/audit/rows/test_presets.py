"""Logs of chats in the forms that others write them in: what is asked for is judged, what is not is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from pipelines.moderation import Admitted
from schemas.errors import ConfigurationError
from tests.workers.audit.scripted_lane import moderation
from workers.audit.rows.block_rows import BlockRows
from workers.audit.rows.blocks import HowAsked, plan_files, survey
from workers.audit.rows.columns import Columns
from workers.audit.rows.event_rows import AuditRecord, EventRows
from workers.audit.rows.presets import PRESETS, preset_of, turns_of
from workers.files.csv_dialect import AS_FOUND

USER = {"role": "user", "content": "the skarnade murkblade"}
TURNS = [USER, {"role": "assistant", "content": "ok"}, {"role": "user", "content": "thx"}]


def read(path: Path, form: str | None, turns: str | None = None, **given: str) -> list[AuditRecord]:
    preset = preset_of(form)
    how = HowAsked(AS_FOUND, preset.rows_at, preset.left_out)
    surveyed = survey([str(path)], 10, lambda _done, _all: None, how)
    columns = Columns.resolve(given, surveyed.files, None, preset, turns_of(turns, preset))
    events, reader = EventRows(columns), BlockRows(columns.wanted, 0)
    return [item for block in plan_files(surveyed, 10, 0).blocks for item in events.records(block, *reader.read(block))]


def judged(records: list[AuditRecord]) -> list[tuple[str, list[str]]]:
    """Event id and contents, of which the last is judged."""
    found = []
    for item in records:
        event = json.loads(item.record.value or b"")
        turns = event.get("messages", [{"role": "user", "content": event.get("text")}])
        found.append((event["event_id"], [turn["content"] for turn in turns]))
    return found


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def lmsys(path: Path) -> Path:
    turn = pa.struct([("content", pa.string()), ("role", pa.string())])
    rows = {"conversation_id": ["c1"], "model": ["v"], "conversation": pa.array([TURNS], pa.list_(turn))}
    parquet.write_table(pa.table({**rows, "turn": [2], "language": ["English"]}), path / "a.parquet")
    return path / "a.parquet"


def wildchat(path: Path) -> Path:
    turns = [{**turn, "language": "English", "toxic": False, "turn_identifier": 7} for turn in TURNS]
    row = {"conversation_hash": "c1", "timestamp": "2024-01-01T00:00:00+00:00", "conversation": turns}
    return lines(path / "a.jsonl", row)


def sharegpt(path: Path) -> Path:
    roles = {"user": "human", "assistant": "gpt"}
    turns = [{"from": roles[turn["role"]], "value": turn["content"]} for turn in TURNS]
    return lines(path / "a.jsonl", {"id": "c1", "conversations": turns})


@pytest.mark.parametrize("form", ["lmsys", "wildchat", "sharegpt"])
def test_every_turn_of_a_conversation_is_judged_with_what_was_said_before_it(tmp_path: Path, form: str) -> None:
    path = {"lmsys": lmsys, "wildchat": wildchat, "sharegpt": sharegpt}[form](tmp_path)
    texts = [turn["content"] for turn in TURNS]
    found = read(path, form)

    assert judged(found) == [("c1/0", texts[:1]), ("c1/1", texts[:2]), ("c1/2", texts)]
    assert {item.row_id for item in found} == {"c1"}
    assert sum(item.turns_left for item in found) == 0
    assert all(isinstance(moderation().admit(item.record), Admitted) for item in found)
    users, last = read(path, form, "users"), read(path, form, "last")
    assert judged(users) == [("c1/0", texts[:1]), ("c1/2", texts)]
    assert judged(last) == [("c1", texts)]
    assert [sum(item.turns_left for item in some) for some in (users, last)] == [1, 2]


def test_a_row_of_which_only_the_last_turn_is_judged_says_how_many_are_not(tmp_path: Path) -> None:
    (found,) = read(lmsys(tmp_path), None, messages="conversation", id="conversation_id")
    assert (found.event_id, found.turns_left) == ("c1", 2)


def openai(path: Path) -> Path:
    answer = [{"index": 0, "message": {"role": "assistant", "content": "one"}}, {"message": {"content": "two"}}]
    tools = [USER, {"role": "assistant", "content": None, "tool_calls": []}, {"role": "tool", "content": "sunny"}]
    return lines(
        path / "a.jsonl",
        {"id": "r1", "request": {"messages": [USER]}, "response": {"choices": answer}},
        {"id": "r2", "request": {"messages": tools}, "response": {"choices": [{"message": {"content": "three"}}]}},
    )


def test_logs_of_openai_have_the_question_and_each_of_the_answers_judged(tmp_path: Path) -> None:
    text = USER["content"]
    found = read(openai(tmp_path), "openai")

    assert judged(found) == [
        ("r1/0", [text]),
        ("r1/1", [text, "one"]),
        ("r1/1.1", [text, "two"]),
        ("r2/0", [text]),
        ("r2/3", [text, None, "sunny", "three"]),
    ]
    assert judged(read(openai(tmp_path), "openai", "last"))[:2] == [("r1", [text, "one"]), ("r1/1.1", [text, "two"])]
    parts = {"custom_id": "b1", "body": {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]}}
    assert [item.event_id for item in read(lines(tmp_path / "b.jsonl", parts), "openai")] == ["b1/0"]
    outputs = [{"type": "reasoning"}, {"type": "message", "role": "assistant", "content": "yes"}]
    responses = lines(tmp_path / "c.jsonl", {"id": "x", "input": "may I?", "output": outputs})
    assert judged(read(responses, "openai")) == [("x/0", ["may I?"]), ("x/1", ["may I?", "yes"])]


def test_a_question_and_its_answer_in_two_columns_are_a_conversation(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt,response\nmay I?,yes\nand now?,\n", encoding="utf-8")
    found = read(path, None, text="prompt", answer="response")

    assert [contents for _, contents in judged(found)] == [["may I?", "yes"], ["and now?"]]
    assert [item.turns_left for item in found] == [1, 0]
    both = read(path, None, "all", text="prompt", answer="response")
    assert [contents for _, contents in judged(both)] == [["may I?"], ["may I?", "yes"], ["and now?"]]


def test_an_export_of_slack_is_read_without_its_lists_of_users(tmp_path: Path) -> None:
    (tmp_path / "general").mkdir()
    (tmp_path / "users.json").write_text('[{"id": "U1", "name": "ann"}]')
    messages = [
        {"type": "message", "client_msg_id": "m1", "user": "U1", "text": "hello", "ts": "1503435956.000247"},
        {"type": "message", "user": "U1", "text": "hi", "ts": "1503435957.000247", "thread_ts": "1503435956.000247"},
    ]
    (tmp_path / "general" / "2017-08-22.json").write_text(json.dumps(messages))
    first, second = read(tmp_path, "slack")

    assert (first.event_id, judged([first])[0][1]) == ("m1", ["hello"])
    assert first.occurred_at is not None
    assert (first.occurred_at.year, first.occurred_at.microsecond) == (2017, 247)
    assert json.loads(second.record.value or b"")["conversation_id"] == "1503435956.000247"
    left_out = survey(
        [str(tmp_path)], 10, lambda _done, _all: None, HowAsked(left_out=PRESETS["slack"].left_out)
    ).left_out
    assert [(Path(item.uri).name, item.why) for item in left_out] == [("users.json", "holds no messages")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "My Server - general [123456789].csv",
            'AuthorID,Author,Date,Content,Attachments,Reactions\n"1","ann#1","2023-09-23T13:15:48.3790000+03:00","hello","",""\n',
        ),
        ("messages.csv", "ID,Timestamp,Contents,Attachments\n7,2023-09-23 10:15:48,hello,\n"),
        ("messages.json", '[{"ID": 7, "Timestamp": "2023-09-23 10:15:48", "Contents": "hello", "Attachments": ""}]'),
        (
            "export.json",
            '{"guild": {"id": "1"}, "channel": {"id": "2"}, "messages": [{"id": "7", "type": "Default",'
            ' "timestamp": "2023-09-23T13:15:48.379+03:00", "content": "hello", "author": {"id": "1"}}]}',
        ),
    ],
)
def test_exports_of_discord_are_read(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    (found,) = read(tmp_path / name, "discord")

    assert judged([found])[0][1] == ["hello"]
    assert found.event_id == ("7" if "AuthorID" not in content else found.row_id)


def test_what_does_not_fit_is_refused_by_name(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"text": "a"})
    for form, turns, said in (
        ("lmsis", None, r"--format lmsis: not one of lmsys, wildchat.*; did you mean lmsys\?"),
        (None, "first", "--turns first: not one of last, users, all"),
        (None, "all", "--turns all: a row is one message"),
        ("lmsys", None, "nothing to judge"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            read(path, form, turns)


def test_a_row_without_any_turn_to_judge_is_one_record_that_says_so(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"messages": [{"role": "system", "content": "x"}]}, {"messages": "no list"})
    assert [item.event_id for item in read(path, None, "all")] == [item.row_id for item in read(path, None)]


def test_a_column_of_another_name_counts_where_the_first_has_nothing(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "conversations": [{"from": "human", "value": "one"}]},
        {"id": "b", "items": [{"from": "human", "value": "two"}]},
        {"id": "c", "conversations": None, "items": [{"from": "human", "value": "three"}]},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    preset = preset_of("sharegpt")
    surveyed = survey([str(path)], 10, lambda _done, _all: None)
    columns = Columns.resolve({}, surveyed.files, None, preset, "all")

    assert [said for _, said in judged(read(path, "sharegpt"))] == [["one"], ["two"], ["three"]]
    assert columns.mapping == {"id": "id", "conversation": "id", "messages": "conversations | items"}
