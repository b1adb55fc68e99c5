"""`weir classify --stream`: a text and its answer, or lines of deltas, to token verdicts."""

import json

import pytest

from tests.weir_result import Result

ASKED = [{"role": "user", "content": "can you tell me about the river?"}]
ANSWER = "someone beside the lamp mentioned murkblade today."


def test_an_answer_is_judged_token_by_token() -> None:
    result = Result("classify", "can you tell me about the river?", "--stream", "--answer", ANSWER, "--model", "demo")
    user, *answer = result.lines

    assert result.code == 0, result.err
    assert (user["role"], user["risk"]) == ("user", "Safe")
    raised = [line["raised"] for line in answer]
    assert raised == sorted(raised)
    first = answer[raised.index(True)]
    assert ANSWER.index("murkblade") < first["offset"] <= ANSWER.index("today") + len("today")
    assert (first["risk"], first["category"]) == ("Unsafe", "Violent")


def test_a_text_alone_gets_the_verdict_of_the_users_turn() -> None:
    [line] = Result("classify", ANSWER, "--stream", "--model", "demo").lines

    assert (line["role"], line["risk"], line["raised"]) == ("user", "Unsafe", True)


def test_lines_of_deltas_are_judged_and_errors_set_the_exit_code() -> None:
    pieces = [{"delta": ANSWER[start : start + 5]} for start in range(0, len(ANSWER), 5)]
    deltas = [{"messages": ASKED}, *pieces, {"final": True}, {"delta": "x"}]
    result = Result("classify", "--stream", "--model", "demo", stdin="\n".join(map(json.dumps, deltas)))

    assert result.code == 1
    assert [line["error"]["reason"] for line in result.lines if "error" in line] == ["session_unknown"]
    assert [line for line in result.lines if line.get("raised")]


def test_the_debounce_of_the_authors_script_can_be_chosen() -> None:
    result = Result("classify", "hello", "--stream", "--answer", ANSWER, "--debounce", "script", "--model", "demo")

    assert result.code == 0
    assert any(line["raised"] for line in result.lines)


@pytest.mark.parametrize(
    "arguments", [("x", "--answer", "y"), ("--stream", "--answer", "y"), ("x", "--debounce", "script")]
)
def test_options_that_would_do_nothing_are_refused(arguments: tuple[str, ...]) -> None:
    assert Result("classify", *arguments, "--model", "demo").code == 2


def test_a_model_of_the_other_kind_is_refused_with_the_reason() -> None:
    from workers.serving.engine.loading import DEMO_FOLDER
    from workers.serving.engine.streaming.stream_model import STREAM_DEMO_FOLDER

    wrong = Result("classify", "x", "--stream", "--model", str(DEMO_FOLDER))
    assert (wrong.code, "no Qwen3Guard-Stream model" in wrong.err) == (2, True)
    wrong = Result("classify", "x", "--model", str(STREAM_DEMO_FOLDER))
    assert (wrong.code, "weir classify --stream" in wrong.err) == (2, True)
