"""A user's own labelled files: the mapping of columns, the words for labels, and what is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.evaluation.examples import LabelledExample
from schemas.errors import ConfigurationError
from schemas.event import Task, read_event
from schemas.verdict import Severity
from workers.evaluation.labelled_files import AUTO, LabelledFiles
from workers.evaluation.labelled_rows import Mapped


def read(
    folder: Path, rows: list[dict[str, Any]], columns: dict[str, str] | None = None, *unsafe: str, form: str = AUTO
) -> list[LabelledExample]:
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(LabelledFiles([path], form, Mapped.of(columns or {}, unsafe)).read())


def test_the_default_columns(tmp_path: Path) -> None:
    rows = [
        {"id": 7, "text": "a", "label": "safe", "language": "DE", "categories": "PII, Violent"},
        {"id": "x", "text": "q", "response": "r", "label": 1, "refusal": "compliance"},
        {
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u", "name": "n"}],
            "label": True,
        },
    ]
    first, second, third = read(tmp_path, rows)
    assert (first.example_id, first.task, first.language) == ("7", Task.PROMPT, "de")
    assert first.label.categories == ("PII", "Violent")
    assert (second.task, second.label.severity, second.label.refusal) == (Task.RESPONSE, Severity.UNSAFE, False)
    assert third.example_id == "mine.jsonl:3"
    assert third.conversation == ({"role": "system", "content": "s"}, {"role": "user", "content": "u"})


def test_messages_are_read_as_live_traffic_reads_them(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:"}}]
    asked = [
        {"role": "developer", "content": "be kind"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "content": "12"},
        {"role": "user", "content": "and now?"},
    ]
    (example,) = read(tmp_path, [{"messages": asked, "label": 1}])
    assert example.conversation == read_event({"event_id": "live", "messages": asked}).messages
    assert [turn["content"] for turn in example.conversation if turn["role"] == "user"] == ["look", "and now?"]


def test_halves_of_characters_are_replaced_as_in_live_traffic(tmp_path: Path) -> None:
    half = "x\ud83d"
    row = {"text": half, "response": half + "\ude00", "label": 1, "id": half, "language": half}
    (example,) = read(tmp_path, [row])

    assert [turn["content"] for turn in example.conversation] == ["x\ufffd", "x😀"]
    assert (example.example_id, example.language) == ("x\ufffd", "x\ufffd")
    turns = json.dumps([{"role": "user", "content": half}])
    (example,) = read(tmp_path, [{"messages": turns, "label": 1}])
    assert example.conversation == ({"role": "user", "content": "x\ufffd"},), "also where a column holds JSON"


def test_columns_are_mapped(tmp_path: Path) -> None:
    example, _ = read(
        tmp_path,
        [
            {"chat line": "a", "verdict": "ban", "lang": "fr", "label": "x", "text": "no"},
            {"chat line": "b", "verdict": "warn"},
        ],
        {"text": "chat line", "label": "verdict", "language": "lang"},
        "ban",
        "warn",
    )
    assert (example.conversation[0]["content"], example.label.severity, example.language) == (
        "a",
        Severity.UNSAFE,
        "fr",
    )


@pytest.mark.parametrize(
    ("value", "severity"),
    [
        ("Unsafe", Severity.UNSAFE),
        ("harmful", Severity.UNSAFE),
        (1, Severity.UNSAFE),
        (1.0, Severity.UNSAFE),
        (True, Severity.UNSAFE),
        (" toxic ", Severity.UNSAFE),
        ("safe", Severity.SAFE),
        ("unharmful", Severity.SAFE),
        ("0", Severity.SAFE),
        (False, Severity.SAFE),
        ("controversial", Severity.CONTROVERSIAL),
    ],
)
def test_the_usual_words_for_labels(tmp_path: Path, value: object, severity: Severity) -> None:
    (example,) = read(tmp_path, [{"text": "a", "label": value}])
    assert example.label.severity is severity


def test_given_words_take_the_place_of_the_usual_ones(tmp_path: Path) -> None:
    labels = ["unsafe", "spam", 3, 4]
    found = read(tmp_path, [{"text": "a", "label": label} for label in labels], None, "spam", "3")
    severities = [example.label.severity for example in found]
    assert severities == [Severity.SAFE, Severity.UNSAFE, Severity.UNSAFE, Severity.SAFE]


@pytest.mark.parametrize("categories", [["PII", "Violent"], "PII,Violent", {"PII": 1, "Violent": True, "x": 0}])
def test_categories_in_all_their_forms(tmp_path: Path, categories: object) -> None:
    (example,) = read(tmp_path, [{"text": "a", "label": 1, "categories": categories}])
    assert example.label.categories == ("PII", "Violent")


def test_rows_without_a_label_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"text": "a", "label": null}\n{"text": "a", "label": ""}\n{"text": "b", "label": 0}\n')
    files = LabelledFiles([path], AUTO, Mapped({}))
    assert len(list(files.read())) == 1
    assert files.skipped == {"no label": 2}


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ({"text": "secret", "label": "secret"}, "row 1 of form labelled, column 'label' (label): neither a severity"),
        ({"label": 1}, "column 'text' (text): missing, and there are no messages either"),
        ({"text": 5, "label": 1}, "column 'text' (text): not a text"),
        ({"messages": "secret", "label": 1}, "column 'messages' (messages): not a list of messages"),
        ({"messages": [{"role": "user"}], "label": 1}, "column 'messages' (messages): a message without a text"),
        ({"messages": [{"role": "secret", "content": "secret"}], "label": 1}, "(messages): a role that is none of"),
        ({"text": "a", "label": 1, "refusal": "secret"}, "column 'refusal' (refusal): neither a truth value"),
        ({"text": "a", "label": 1, "categories": 3}, "column 'categories' (categories): neither a list"),
    ],
)
def test_a_row_that_does_not_fit_is_named_but_not_quoted(tmp_path: Path, row: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, [row])
    assert error in str(caught.value)
    assert "secret" not in str(caught.value)


def test_unknown_columns_names_and_formats_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no benchmark has the columns body, mark; map them with --column"):
        read(tmp_path, [{"body": "a", "mark": 1}])
    with pytest.raises(ConfigurationError, match=r"column 'txt': not one of text, response.*; did you mean text\?"):
        read(tmp_path, [{"text": "a", "label": 1}], {"txt": "text"})
    with pytest.raises(ConfigurationError, match=r"format 'toxichat': not one of .*; did you mean toxicchat\?"):
        read(tmp_path, [{"text": "a", "label": 1}], form="toxichat")
    with pytest.raises(ConfigurationError, match="format 'toxicchat' has columns and labels of its own"):
        read(tmp_path, [{"text": "a", "label": 1}], {"text": "text"}, form="toxicchat")
    with pytest.raises(ConfigurationError, match="holds no row"):
        read(tmp_path, [])


def test_an_id_that_stands_for_two_examples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="two examples have the id '7'"):
        read(tmp_path, [{"id": 7, "text": "a", "label": 1}, {"id": "7", "text": "b", "label": 1}])


@pytest.mark.parametrize("given", ["1", "1.0", "true", "True"])
@pytest.mark.parametrize("labels", [(1.0, 0.0, None), (True, False, ""), ("1", "0", None), ("true", "false", None)])
def test_a_given_label_is_met_in_every_form_that_files_have_of_it(
    tmp_path: Path, labels: tuple[Any, ...], given: str
) -> None:
    found = read(tmp_path, [{"text": "a", "label": label} for label in labels], None, given)

    assert [example.label.severity for example in found] == [Severity.UNSAFE, Severity.SAFE]


def test_what_is_given_and_met_by_no_row_is_an_error(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": "Toxic"}, {"text": "b", "label": "Non-Toxic", "lang": "de"}]
    with pytest.raises(ConfigurationError, match="--unsafe toxic: no row has this label"):
        read(tmp_path, rows, None, "Toxic", "toxic")
    with pytest.raises(ConfigurationError, match="--column language=tongue: no row has the column 'tongue'"):
        read(tmp_path, rows, {"language": "tongue"}, "Toxic")
    assert [example.language for example in read(tmp_path, rows, {"language": "lang"}, "Toxic")] == [None, "de"]


def test_the_columns_of_a_file_are_those_of_all_its_rows(tmp_path: Path) -> None:
    rows = [{"text": "a"}, {"text": "b", "label": 1}]
    assert [example.conversation[0]["content"] for example in read(tmp_path, rows)] == ["b"]
    assert [example.conversation[0]["content"] for example in read(tmp_path, rows[::-1])] == ["b"]


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    paths = [tmp_path / folder / "test.jsonl" for folder in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        path.write_text('{"text": "a", "label": 1}\n')
    found = LabelledFiles(paths, AUTO, Mapped({})).read()

    assert [example.example_id for example in found] == ["a/test.jsonl:1", "b/test.jsonl:1"]
