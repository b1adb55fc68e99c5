"""The benchmarks' published forms, on files of a few rows that are written here, and what is left out of each."""

import csv
import gzip
import json
import lzma
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from pipelines.evaluation.examples import LabelledExample
from schemas.errors import ConfigurationError
from schemas.verdict import Severity
from tests.workers.evaluation.benchmark_samples import ANSWERED, CASES, PLACED
from workers.evaluation.benchmark_rows import FORMATS
from workers.evaluation.labelled_files import AUTO, LabelledFiles
from workers.evaluation.labelled_rows import Mapped


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """A file of the form that its name says."""
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    elif path.name.startswith("behaviours_of"):
        path.write_text(json.dumps({f"behaviour {number}": [row] for number, row in enumerate(rows)}))
    elif path.name == "test.json":
        path.write_text(json.dumps(rows))
    else:
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        packed = {".gz": gzip.compress, ".xz": lzma.compress}.get(path.suffix, bytes)(content)
        path.write_bytes(packed)


def seen(example: LabelledExample) -> tuple[Any, ...]:
    last, label = example.conversation[-1], example.label
    severity = None if label.severity is None else str(label.severity)
    known = (example.benchmark, last["role"], last["content"])
    return (*known, severity, label.refusal, label.categories, example.language)


@pytest.mark.parametrize(("name", "rows", "expected", "skipped"), CASES, ids=[case[0] for case in CASES])
def test_a_benchmark_is_known_by_its_columns_and_read(
    tmp_path: Path, name: str, rows: list[dict[str, Any]], expected: list[tuple[Any, ...]], skipped: dict[str, int]
) -> None:
    path = tmp_path / name
    write(path, rows)
    files = LabelledFiles([path], AUTO, Mapped({}))
    found = list(files.read())
    assert [(files.forms[str(path)], *seen(example)) for example in found] == expected
    assert files.skipped == skipped
    assert len({example.example_id for example in found}) == len(found)
    assert all(example.example_id.startswith(f"{name}:") for example in found)


def test_every_form_is_tried() -> None:
    assert {form.name for form in FORMATS} == {expected[0][0] for _, _, expected, _ in CASES}


@pytest.mark.parametrize("row", [{"prompt": None, "S": 1}, {"S": 1}, {"prompt": 3, "S": 1}])
def test_a_row_of_another_form_is_named_and_not_judged(tmp_path: Path, row: dict[str, Any]) -> None:
    path = tmp_path / "a.jsonl"
    write(path, [{"prompt": "fine", "S": 0}, row])
    with pytest.raises(ConfigurationError, match="row 2 of form openai_moderation, column 'prompt': a text is needed"):
        list(LabelledFiles([path], AUTO, Mapped({})).read())


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("thinking.jsonl", {"label": "Controversial"}),
        ("wildguard_test.parquet", {"prompt_harm_label": "mixed"}),
        ("wildguard_test.parquet", {"response_harm_label": "mixed"}),
        ("wildguard_test.parquet", {"response_refusal_label": "partial"}),
        ("response_refusal.parquet", {"label": "partial"}),
        ("response_harmfulness.parquet", {"label": "mixed"}),
        ("xstest_prompts.csv", {"label": "both"}),
        ("test.json", {"prompt_label": "needs caution"}),
        ("test.json", {"response": "r", "response_label": "needs caution"}),
        ("toxic-chat_annotation_test.csv", {"toxicity": ""}),
        ("samples-1680.jsonl.gz", {"S3": "maybe"}),
        ("behaviours_of_text_behaviors_val_set.json", {"human_0": None}),
        ("beavertails.jsonl.xz", {"is_safe": None}),
        ("saferlhf.jsonl", {"is_response_1_safe": "unknown"}),
    ],
)
def test_a_label_that_is_not_known_is_never_safe(tmp_path: Path, name: str, label: dict[str, Any]) -> None:
    rows = next(rows for case, rows, _, _ in CASES if case == name)
    whole = next(row for row in rows if set(label) <= set(row))
    write(tmp_path / name, [whole, {**whole, **label}])
    column = list(label)[-1]
    with pytest.raises(ConfigurationError, match=f"row 2 of form .*, column '{column}': .* is needed, found"):
        list(LabelledFiles([tmp_path / name], AUTO, Mapped({})).read())


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"label": "unsafe"}, "'label': Unsafe or Safe is needed, found 'unsafe'"),
        ({"label": "a secret"}, "'label': Unsafe or Safe is needed, found a text of 8 characters"),
        ({"label": ["secret"]}, "'label': Unsafe or Safe is needed, found list"),
        ({"unsafe_type": {"secret": 1}}, "'unsafe_type': a text is needed, found dict"),
        ({"unsafe_end_index": None}, "'unsafe_end_index': a whole number from 0 on is needed, found None"),
        ({"unsafe_start_index": 2.5}, "'unsafe_start_index': a whole number from 0 on is needed, found 2.5"),
        ({"unsafe_end_index": float("inf")}, "'unsafe_end_index': a whole number from 0 on is needed, found inf"),
        ({"unsafe_end_index": True}, "'unsafe_end_index': a whole number from 0 on is needed, found True"),
        ({"unsafe_end_index": 2}, "'unsafe_end_index': a position that is not before unsafe_start_index 3 is needed"),
        ({"label": "Safe"}, "'unsafe_start_index': only an answer that is Unsafe has one"),
        ({"message": ANSWERED[:1]}, "'unsafe_start_index': only an answer that is Unsafe has one"),
        ({"message": []}, "'message': not a list of messages"),
        ({"message": "secret"}, "'message': not a list of messages"),
        ({"message": ["secret"]}, "'message': a message without a text"),
        ({"message": [{"role": ["secret"], "content": "secret"}]}, "'message': a role that is none of"),
    ],
)
def test_a_row_with_the_place_of_a_sentence_is_read_as_it_is_published(
    tmp_path: Path, changed: dict[str, Any], error: str
) -> None:
    write(tmp_path / "a.jsonl", [{**PLACED, "message": ANSWERED}, {**PLACED, "message": ANSWERED, **changed}])
    with pytest.raises(ConfigurationError) as refused:
        list(LabelledFiles([tmp_path / "a.jsonl"], AUTO, Mapped({})).read())
    assert f"row 2 of form qwen3guardtest, column {error}" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_file_that_is_not_of_the_format_asked_for_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [{"prompt": "p", "label": 1}])
    with pytest.raises(ConfigurationError, match="no row has the column 'message', as format qwen3guardtest has"):
        list(LabelledFiles([tmp_path / "a.jsonl"], "qwen3guardtest", Mapped({})).read())


@pytest.mark.parametrize("missing", [{}, {"H": None}, {"H": float("nan")}])
def test_a_category_without_a_value_is_not_labelled(tmp_path: Path, missing: dict[str, Any]) -> None:
    write(tmp_path / "a.jsonl", [{"prompt": "a", "S": 1, "V": 0, **missing}])
    (example,) = LabelledFiles([tmp_path / "a.jsonl"], AUTO, Mapped({})).read()
    assert example.label.categories == ("sexual",)


def test_a_toxicity_without_a_value_is_no_label(tmp_path: Path) -> None:
    rows = [{"Prompt": "a", "PromptAnnotations": {"Toxicity": value}} for value in (None, float("nan"), 1)]
    write(tmp_path / "RTP_LX_EN.jsonl", rows)
    files = LabelledFiles([tmp_path / "RTP_LX_EN.jsonl"], AUTO, Mapped({}))
    assert len(list(files.read())) == 1
    assert files.skipped == {"no label": 2}


def test_a_responses_question_is_judged_with_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write(path, [{"prompt": "question", "response": "answer", "is_safe": True}])
    (example,) = LabelledFiles([path], AUTO, Mapped({})).read()
    assert example.conversation == (
        {"role": "user", "content": "question"},
        {"role": "assistant", "content": "answer"},
    )
    assert example.label.severity is Severity.SAFE
