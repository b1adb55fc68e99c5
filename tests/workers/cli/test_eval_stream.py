"""`weir eval run --stream`: labelled answers, judged token by token by the tiny Stream model."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.weir_result import Result

ASKED = {"role": "user", "content": "can you tell me about the river?"}
ANSWER = "someone beside the lamp mentioned murkblade today."
QUIET = "the river is quiet today."


@pytest.fixture(scope="module")
def guard() -> Any:
    from workers.serving.engine.stream_guard import StreamGuard

    return StreamGuard.load("demo", device="cpu")


def row(number: int, answer: str, label: str, sentence: tuple[int, int] | None = None) -> dict[str, Any]:
    turns = [ASKED, {"role": "assistant", "content": answer}]
    start, end = sentence or (None, None)
    known = {"unsafe_type": "Violent" if label == "Unsafe" else None, "source": "s", "input_ids": None}
    return {
        "unique_id": f"u{number}", "message": turns, "label": label, "unsafe_start_index": start,
        "unsafe_end_index": end, **known,
    }  # fmt: skip


def written(folder: Path, name: str, *rows: dict[str, Any]) -> str:
    path = folder / name
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return str(path)


def ids_of(answer: str, words: str) -> tuple[int, int]:
    """Where some words lie among the ids of the finished conversation, as the data set's makers counted them."""
    from transformers import AutoTokenizer

    from workers.serving.engine.streaming.stream_model import STREAM_DEMO_FOLDER

    tokenizer = AutoTokenizer.from_pretrained(STREAM_DEMO_FOLDER)
    thinking, _, said = answer.rpartition("</think>")
    thought = thinking.removeprefix("<think>").strip("\n")
    before = f"<|im_start|>user\n{ASKED['content']}<|im_end|>\n<|im_start|>assistant\n<think>\n{thought}\n</think>\n\n"
    text = before + said.lstrip("\n")
    encoded = tokenizer(text, return_offsets_mapping=True)
    start = text.index(words)
    inside = [
        place for place, (one, two) in enumerate(encoded["offset_mapping"])
        if two > start and one < start + len(words) and two > one
    ]  # fmt: skip
    return inside[0], inside[-1]


@pytest.mark.parametrize("answer", [ANSWER, f"<think>\nabout murkblade, then\n</think>\n\n{ANSWER}"])
@pytest.mark.parametrize("words", ["murkblade", "mentioned murkblade today."])
def test_published_places_are_those_of_the_answers_characters(guard: Any, answer: str, words: str) -> None:
    turns = [ASKED, {"role": "assistant", "content": answer}]
    start, end = guard.located(turns, *ids_of(answer, words))

    assert words in answer[start:end]
    assert len(answer[start:end].strip()) <= len(words) + 1
    assert guard.located(turns, 0, 3) is None
    assert guard.located(turns, 900, 903) is None


def test_answers_are_scored_where_they_are_raised(tmp_path: Path) -> None:
    words = "mentioned murkblade today."
    thinking = f"<think>\n{ANSWER}\n</think>\n\n{QUIET}"
    rows = [
        row(1, ANSWER, "Unsafe", ids_of(ANSWER, words)),
        row(2, ANSWER, "Unsafe", ids_of(ANSWER, "someone beside")),
        row(3, QUIET, "Unsafe", ids_of(QUIET, QUIET)),
        row(4, thinking, "Unsafe", ids_of(thinking, words)),
    ]
    located = written(tmp_path, "response_loc.jsonl", *rows)
    labelled = written(tmp_path, "thinking.jsonl", row(5, ANSWER, "Unsafe"), row(6, QUIET, "Safe"))
    kept = str(tmp_path / "kept.jsonl")
    options = ["--stream", "--model", "demo", "--resamples", "0", "--size", "0.6B"]
    result = Result("eval", "run", located, labelled, *options, "--predictions", kept, "--json")

    assert result.code == 0, result.err
    stops = result.json["streamed"]["stops"]
    response = stops["qwen3guardtest_response_loc"]["strict"]
    assert {name: count for name, count in response["distances"].items() if count} == {"in": 1, "1-32": 1, "never": 1}
    assert response["exact"]["value"] == pytest.approx(1 / 3)
    assert stops["qwen3guardtest_thinking_loc"]["loose"]["exact"]["value"] == 1
    tokens = result.json["streamed"]["tokens"]
    assert tokens["sentence"]["strict"] > 0 == tokens["before"]["strict"]
    assert result.json["tasks"]["response"]["by_benchmark"]["qwen3guardtest"]["strict"]["f1"]["value"] == 1
    assert [item["figure"] for item in result.json["beside_report"]] == ["exact hit", "hit within 128", "strict"]
    run = result.json["run"]
    assert (run["engine"], run["debounce"], run["provenance"]["parser"]) == ("stream_guard", "paper", "heads/paper")
    assert "murkblade" not in Path(kept).read_text()
    assert Result("eval", "report", kept, "--resamples", "0", "--size", "0.6B", "--json").json == {
        **result.json,
        "skipped": {},
    }
    shown = Result("eval", "report", kept, "--resamples", "0").out
    assert "6 answers judged token by token, 2 without the place" in shown


def test_a_prompt_is_judged_at_its_closing_token(tmp_path: Path) -> None:
    rows = [{"text": ANSWER, "label": 1}, {"text": "hello", "label": 0}]
    options = ["--stream", "--debounce", "script", "--model", "demo", "--resamples", "0", "--json"]
    result = Result("eval", "run", written(tmp_path, "mine.jsonl", *rows), *options)

    assert result.json["tasks"]["prompt"]["safety"]["loose"]["f1"]["value"] == 1
    assert result.json["tasks"]["prompt"]["scores"]["strict"]["calibration"]["items"] == 2
    assert result.json["streamed"] is None


@pytest.mark.parametrize("options", [("--debounce", "script"), ("--stream", "--length", "set")])
def test_options_that_would_do_nothing_are_refused(tmp_path: Path, options: tuple[str, ...]) -> None:
    assert Result("eval", "run", written(tmp_path, "a.jsonl", {"text": "a", "label": 0}), *options).code == 2


def test_a_model_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    from workers.serving.engine.loading import DEMO_FOLDER

    path = written(tmp_path, "a.jsonl", {"text": "a", "label": 0})
    result = Result("eval", "run", path, "--stream", "--model", str(DEMO_FOLDER))
    assert (result.code, "no Qwen3Guard-Stream model" in result.err) == (2, True)
