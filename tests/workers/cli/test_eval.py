"""`weir eval`: labelled files in, figures out, by the tiny model and by an engine that is told what to say."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import precision_recall_fscore_support

from tests.weir_result import Result
from workers.demo.corpus import examples
from workers.serving import engine_choice
from workers.serving.engine import loading
from workers.serving.engine.completion import Completion, EngineIdentity
from workers.serving.engine.verdict_format import QWEN3GUARD_GEN

UNSAFE = "Safety: Unsafe\nCategories: Violent"
SAFE = "Safety: Safe\nCategories: None"


class Engine:
    """Says what the text asks for; keeps the settings that it was loaded with."""

    identity = EngineIdentity("m", "r", "p", "one_pass", "float32", "cpu")

    def __init__(self, changed: str = "") -> None:
        self._changed = changed

    def judge(self, conversations: Sequence[Any]) -> list[Completion]:
        return [self._judgement(turns[-1]["content"]) for turns in conversations]

    def _judgement(self, text: str) -> Completion:
        said = {"off": "no idea", self._changed: SAFE}.get(text, UNSAFE if "bad" in text else SAFE)
        share = 0.9 if said is UNSAFE else 0.1
        safety = {"Safe": 1 - share, "Controversial": 0.0, "Unsafe": share}
        return Completion(said, None, {"safety": safety, "category": {"None": 1.0}}, 1, 8, "stop")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """An engine in place of the model; the settings that it was asked for with."""
    settings: list[Any] = []

    def load(wanted: Any) -> Engine:
        settings.append(wanted)
        return Engine("bad 3" if wanted.model == "changed" else "")

    monkeypatch.setattr(engine_choice, "load_engine", load)
    return settings


def labelled(folder: Path, rows: list[dict[str, Any]], name: str = "mine.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def mine(folder: Path) -> str:
    """Ten unsafe texts of which eight are found, ten safe ones of which one is flagged, and one without a verdict."""
    rows = [
        {"id": f"u{number}", "text": f"bad {number}" if number < 8 else "quiet", "label": 1} for number in range(10)
    ]
    rows += [{"id": f"s{number}", "text": "bad luck" if number == 0 else "fine", "label": 0} for number in range(10)]
    return labelled(folder, [*rows, {"id": "o", "text": "off", "label": 0}])


def test_a_run_without_any_verdict_exits_with_3(tmp_path: Path, asked: list[Any]) -> None:
    result = Result("eval", "run", labelled(tmp_path, [{"text": "off", "label": 1}]), "--json")
    assert (result.code, result.json["tasks"]["prompt"]["failures"]) == (3, {"unparsable_output": 1})
    assert asked


def test_figures_of_a_file_with_known_answers(tmp_path: Path, asked: list[Any]) -> None:
    result = Result("eval", "run", mine(tmp_path), "--model", "Qwen3Guard-Gen-4B", "--resamples", "50", "--json")
    assert result.code == 0
    prompt = result.json["tasks"]["prompt"]
    truths = [True] * 10 + [False] * 11
    answers = [True] * 8 + [False] * 2 + [True] + [False] * 9 + [True]
    theirs = precision_recall_fscore_support(truths, answers, average="binary")
    strict = prompt["safety"]["strict"]
    ours = [strict[name]["value"] for name in ("precision", "recall", "f1")]
    assert ours == pytest.approx(list(theirs[:3]), abs=1e-12)
    assert list(strict["counts"].values()) == [8, 2, 2, 9, 1]
    assert prompt["failures"] == {"unparsable_output": 1}
    assert prompt["confusion"]["Safe"] == {"Safe": 9, "Controversial": 0, "Unsafe": 1, "none": 1}
    assert prompt["scores"]["strict"]["calibration"]["items"] == 20
    assert result.json["run"]["decoding"] == "greedy"
    assert result.json["size"] == "4B"
    assert result.json["bootstrap"] == {"resamples": 50, "level": 0.95, "seed": 1}
    assert list(prompt["by_benchmark"]) == ["labelled"]
    assert asked[0].score_temperature == 1.0


def test_the_rule_for_no_verdict_is_an_option(tmp_path: Path, asked: list[Any]) -> None:
    counts = [
        Result("eval", "run", mine(tmp_path), "--no-verdict", rule, "--json").json["tasks"]["prompt"]["safety"]["loose"]
        for rule in ("wrong", "unsafe", "left_out")
    ]
    assert [list(count["counts"].values()) for count in counts] == [[8, 2, 2, 9, 1], [8, 2, 2, 9, 1], [8, 1, 2, 9, 1]]
    assert len(asked) == 3


@pytest.mark.usefixtures("asked")
def test_tables_name_what_was_left_out_and_lay_the_report_beside(tmp_path: Path) -> None:
    rows = [
        {"user_input": text, "human_annotation": text != "x", "toxicity": int("bad" in text)}
        for text in ("bad", "a", "x")
    ]
    result = Result("eval", "run", labelled(tmp_path, rows), "--size", "0.6B", "--resamples", "20")
    assert result.code == 0
    assert "mine.jsonl: read as toxicchat" in result.out
    assert "2 examples; rows left out: 1 not annotated by people" in result.out
    assert "65.1" in result.out
    assert "77.7" in result.out
    assert "expected calibration error 10.0" in result.out
    none = Result("eval", "run", mine(tmp_path), "--model", "demo").out
    assert "no verdict: 1 (1 unparsable_output); counted as wrong" in none
    assert "the model's name tells no size" in none


def test_a_size_that_changes_nothing_is_refused_before_anything_is_judged(asked: list[Any], tmp_path: Path) -> None:
    result = Result("eval", "run", mine(tmp_path), "--size", "8B")
    assert (result.code, asked) == (2, [])
    assert "weir: --size 8B: none of these examples is in the tables" in result.err


@pytest.mark.usefixtures("asked")
def test_a_handful_of_examples_says_what_cannot_be_concluded(tmp_path: Path) -> None:
    rows = [
        {"user_input": f"{'bad' if bad else 'good'} {number}", "human_annotation": True, "toxicity": int(bad)}
        for number in range(40)
        for bad in (True, False)
    ]
    few, enough = labelled(tmp_path, rows[:10]), None
    shown = Result("eval", "run", few, "--resamples", "0").out
    assert "strict: 5 unsafe and 5 safe examples are too few to tell two guards apart" in " ".join(shown.split())
    assert len(Result("eval", "run", few, "--resamples", "0", "--json").json["inconclusive"]) == 2
    enough = labelled(tmp_path, rows)
    assert Result("eval", "run", enough, "--resamples", "0", "--json").json["inconclusive"] == []


@pytest.mark.usefixtures("asked")
def test_a_run_can_be_kept_shown_again_and_compared(tmp_path: Path) -> None:
    kept, changed = str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")
    live = Result("eval", "run", mine(tmp_path), "--model", "same", "--predictions", kept, "--json").json
    assert "bad" not in Path(kept).read_text()
    again = Result("eval", "report", kept, "--json").json
    assert again == live
    Result("eval", "run", mine(tmp_path), "--model", "changed", "--predictions", changed)
    compared = Result("eval", "compare", kept, changed, "--json").json
    strict = compared["contests"]["prompt"]["strict"]["mcnemar"]
    assert (strict["only_first_right"], strict["only_second_right"], strict["test"]) == (1, 0, "exact")
    assert compared["changed"] == ["u3"]
    shown = Result("eval", "compare", kept, changed)
    assert shown.code == 0
    assert "changed: u3" in shown.out
    assert "1 of Unsafe -> Safe" in shown.out
    refused = Result("eval", "run", mine(tmp_path), "--predictions", kept)
    assert refused.code == 2
    assert "exists already" in refused.err


@pytest.mark.usefixtures("asked")
def test_limit_columns_and_unsafe_values(tmp_path: Path) -> None:
    path = labelled(
        tmp_path, [{"body": "bad", "mark": "ban"}, {"body": "a", "mark": "ok"}, {"body": "b", "mark": "ok"}]
    )
    options = ["--column", "text=body", "--column", "label=mark", "--unsafe", "ban", "--limit", "2", "--json"]
    result = Result("eval", "run", path, *options).json
    assert result["tasks"]["prompt"]["safety"]["strict"]["counts"] == {
        "true_positives": 1,
        "false_positives": 0,
        "false_negatives": 0,
        "true_negatives": 1,
        "no_verdict": 0,
    }


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["run", "none.jsonl"], "cannot be read as jsonl: No such file"),
        (["run", "MINE", "--size", "14B"], "14B: not one of 0.6B, 4B, 8B"),
        (["run", "MINE", "--column", "text"], "text: not NAME=COLUMN"),
        (["run", "MINE", "--column", "txt=a"], "column 'txt': not one of"),
        (["run", "MINE", "--column", "text=a", "--column", "text=b"], "text: given twice"),
        (["run", "MINE", "--length", "short"], "short: neither whole nor set"),
        (["run", "MINE", "--format", "toxic"], "format 'toxic': not one of"),
        (["run", "UNLABELLED"], "hold no labelled example"),
        (["run", "MINE", "--model", "/none"], "guard.model '/none'"),
        (["compare", "MINE", "MINE"], "line 1 is not of a prediction file"),
        (["report", "MINE"], "line 1 is not of a prediction file"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(tmp_path: Path, arguments: list[str], error: str) -> None:
    names = {"MINE": mine(tmp_path), "UNLABELLED": labelled(tmp_path, [{"text": "a", "label": None}], "un.jsonl")}
    result = Result("eval", *(names.get(argument, argument) for argument in arguments))
    assert result.code == 2
    assert error in " ".join(result.err.split())


@pytest.mark.skipif(
    not (loading.DEMO_FOLDER / "model.safetensors").is_file(), reason="the demo model is not in this checkout"
)
def test_the_tiny_model_is_evaluated(tmp_path: Path) -> None:
    rows = []
    for number, example in enumerate(examples(3, 80, "held_out")):
        severity = "Safe" if example.severity == "Off-grammar" else example.severity
        row = {"id": number, "messages": example.conversation, "label": severity, "language": example.language}
        rows.append({**row, "refusal": example.refusal, "categories": [example.category] if example.category else []})
    predictions = str(tmp_path / "p.jsonl")
    options = ["--model", "demo", "--predictions", predictions, "--json", "--resamples", "100"]
    done = Result("eval", "run", labelled(tmp_path, rows), *options)
    tasks = done.json["tasks"]
    assert done.code == 0
    assert set(tasks) == {"prompt", "response"}
    off_grammar = sum(example.severity == "Off-grammar" for example in examples(3, 80, "held_out"))
    assert off_grammar > 0
    assert sum(task["no_verdict"] for task in tasks.values()) == off_grammar
    for task in tasks.values():
        assert task["safety"]["strict"]["f1"]["value"] > 0.8
        assert len(task["by_language"]) > 3
        assert task["category_naming"]["micro_f1"] > 0.8
        assert task["scores"]["loose"]["calibration"]["expected_error"] < 0.2
    assert tasks["response"]["refusal"]["f1"]["value"] > 0.8
    assert done.json["run"]["provenance"]["model"] == "demo"
    same = Result("eval", "compare", predictions, predictions, "--json").json
    assert same["transitions"] == {}


def test_the_labels_of_scores_are_the_severities() -> None:
    assert set(QWEN3GUARD_GEN.questions[0].labels) == {"Safe", "Controversial", "Unsafe"}
