"""Lines of deltas in, lines of token verdicts and errors out, in order."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from workers.serving.deltas.lines import DeltaLines
from workers.serving.engine.stream_guard import StreamGuard

ASKED = [{"role": "user", "content": "can you tell me about the river?"}]
SECRET = "zanzibar"


@pytest.fixture(scope="module")
def guard() -> StreamGuard:
    return StreamGuard.load("demo", device="cpu", max_sessions=8)


def out(guard: StreamGuard, *chunks: Sequence[Any]) -> list[Any]:
    """What comes of lines, a chunk at a time; a line that is no object is given as its bytes."""
    lines = DeltaLines(guard)
    written = [[item if isinstance(item, bytes) else json.dumps(item).encode() for item in chunk] for chunk in chunks]
    return [json.loads(line.text) for chunk in written for line in lines.judged(chunk)]


def of(session: str, lines: Sequence[Any]) -> list[Any]:
    return [
        line for line in lines if line.get("session") == session and "error" not in line and not line["provisional"]
    ]


def test_sessions_of_one_chunk_are_judged_together_and_told_apart(guard: StreamGuard) -> None:
    deltas = [{"session": name, "messages": ASKED, "delta": "the lamp "} for name in ("a", "b")]
    deltas += [{"session": "b", "delta": "is here", "final": True}, {"session": "a", "delta": "is here", "final": True}]
    lines = out(guard, deltas)
    alone = out(guard, *[[delta] for delta in deltas if delta["session"] == "a"])

    assert all(line.keys() >= {"index", "offset", "role", "risk", "category", "probabilities"} for line in lines)
    assert [line | {"session": "a"} for line in of("b", lines)] == of("a", lines) == of("a", alone)
    assert [line["role"] for line in of("a", lines)] == ["user"] + ["assistant"] * (len(of("a", lines)) - 1)


def test_a_name_may_be_used_again_behind_its_final_line(guard: StreamGuard) -> None:
    turn = {"messages": ASKED, "delta": "the lamp", "final": True}
    once, twice = out(guard, [turn]), out(guard, [turn, turn])

    assert twice == once * 2


@pytest.mark.parametrize(
    ("line", "reason", "detail"),
    [
        (b"{", "invalid_json", "not JSON"),
        (b"\xff", "invalid_json", "not JSON"),
        ([1], "invalid_line", "not an object"),
        ({"delta": 3}, "invalid_line", "field delta is not a str"),
        ({"session": "a", "delta": SECRET, "finale": True}, "invalid_line", "field 'finale' is none of"),
        ({"session": "none", "delta": SECRET}, "session_unknown", "no line with messages"),
        ({"session": "a", "messages": ASKED}, "session_open", "field messages"),
        ({"session": "c", "messages": [{"role": "assistant", "content": SECRET}]}, "empty_conversation", "messages"),
        ({"session": "a", "delta": SECRET + "\ud83d"}, "invalid_text", "field delta"),
    ],
)
def test_p10_a_line_that_says_nothing_to_a_session_says_why_and_quotes_no_text(
    guard: StreamGuard, line: Any, reason: str, detail: str
) -> None:
    start, end = {"session": "a", "messages": ASKED}, {"session": "a", "delta": "the lamp", "final": True}
    lines = out(guard, [start, line, end])
    errors = [entry for entry in lines if "error" in entry]

    assert [(entry["line"], entry["error"]["reason"]) for entry in errors] == [(2, reason)]
    assert detail in errors[0]["error"]["detail"]
    assert SECRET not in json.dumps(errors)
    assert of("a", lines) == of("a", out(guard, [start, end]))


def test_a_flood_of_sessions_is_told_and_the_open_ones_go_on(guard: StreamGuard) -> None:
    starts = [{"session": str(number), "messages": ASKED} for number in range(10)]
    ends = [{"session": str(number), "final": True} for number in range(8)]
    lines = out(guard, starts, ends)

    assert [line["error"]["reason"] for line in lines if "error" in line] == ["too_many_sessions"] * 2
    assert all(of(str(number), lines) for number in range(8))
