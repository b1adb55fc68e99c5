"""The order of a turn's frames: repeats, gaps, contradictions, ends."""

from typing import Any

import pytest

from pipelines.turns.frames import Frames, TurnRules
from schemas.errors import FrameRefusedError
from schemas.turns.frame import DeltaFrame, read_frame

MESSAGES = [{"role": "user", "content": "where is the river?"}]
SECRET = "zanzibar"


def frame(seq: int, delta: str = "", **fields: Any) -> DeltaFrame:
    first = {"messages": MESSAGES} if seq == 0 else {}
    return read_frame({"conversation_id": "c", "turn": 0, "seq": seq, "delta": delta, **first, **fields})


def test_frames_make_the_text_in_whatever_order_they_come_and_however_often() -> None:
    frames = Frames(TurnRules())
    parts = [frame(0, "the "), frame(1, "lamp "), frame(2, "is "), frame(3, "here", final=True)]

    taken = [frames.take(parts[index]) for index in (0, 2, 2, 3, 0, 1, 2, 3)]

    assert taken == ["new", "held", "repeated", "held", "repeated", "new", "repeated", "repeated"]
    assert (frames.text, frames.is_whole, frames.closing, frames.next_seq) == ("the lamp is here", True, "final", 4)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (frame(1, SECRET), "seq_conflict"),
        (frame(1, "lamp ", final=True), "seq_conflict"),
        (frame(1, "lamp ", offset=3), "seq_conflict"),
        (frame(0, "the ", messages=[{"role": "user", "content": SECRET}]), "seq_conflict"),
        (frame(2, SECRET, offset=10), "offset_conflict"),
        (frame(2, SECRET, role="user"), "role_conflict"),
        (frame(4, SECRET), "seq_conflict"),
        (frame(6, SECRET), "too_many_held"),
    ],
)
def test_p10_a_frame_that_contradicts_those_before_it_is_told_so_and_changes_nothing(
    wrong: DeltaFrame, code: str
) -> None:
    frames = Frames(TurnRules(held=2))
    for taken in (frame(0, "the "), frame(1, "lamp "), frame(4, "here"), frame(5, "", final=True)):
        frames.take(taken)

    with pytest.raises(FrameRefusedError) as caught:
        frames.take(wrong)

    assert caught.value.code == code
    assert SECRET not in caught.value.detail
    frames.take(frame(2, "is ", offset=9))
    frames.take(frame(3))
    assert (frames.text, frames.is_whole) == ("the lamp is here", True)


def test_nothing_comes_behind_the_final_frame() -> None:
    frames = Frames(TurnRules())
    frames.take(frame(0, "the lamp"))
    frames.take(frame(2, "is here"))
    frames.take(frame(1, final=True))

    assert [(seq, error.code) for seq, error in frames.refused] == [(2, "delta_after_final")]
    with pytest.raises(FrameRefusedError, match="seq: 3 comes behind the final frame, seq 1"):
        frames.take(frame(3))


def test_a_held_frame_that_turns_out_to_be_wrong_is_told_apart_from_the_one_that_let_it_in() -> None:
    frames = Frames(TurnRules())
    frames.take(frame(0, "the "))
    frames.take(frame(2, "here", offset=3))

    assert frames.take(frame(1, "lamp ")) == "new"
    assert [(seq, error.code) for seq, error in frames.refused] == [(2, "offset_conflict")]
    assert frames.take(frame(2, "here", offset=9)) == "new"


def test_an_answer_needs_the_turns_before_it_and_a_users_turn_does_not() -> None:
    with pytest.raises(FrameRefusedError, match="messages"):
        Frames(TurnRules()).take(frame(0, messages=None))

    assert Frames(TurnRules()).take(frame(0, role="user", messages=None)) == "new"


@pytest.mark.parametrize("held", [False, True])
def test_a_turn_that_is_closed_is_marked_and_ignores_what_still_comes(held: bool) -> None:
    frames = Frames(TurnRules())
    frames.take(frame(0, "the "))
    if held:
        frames.take(frame(2, "here"))

    frames.close("idle")

    assert (frames.is_whole, frames.closing) == (True, "gap" if held else "idle")
    assert frames.take(frame(1, "lamp", final=True)) == "ignored"
    assert frames.take(frame(0, "the ")) == "repeated"
    assert frames.text == "the "


def test_p9_messages_without_a_text_count_for_what_is_kept_of_them() -> None:
    frames = Frames(TurnRules())
    frames.take(frame(0, "x", messages=[{"role": "user", "content": ""}] * 1_000))
    assert frames.size > 64_000

    frames.forget("final")
    assert frames.size < 64


@pytest.mark.parametrize("deltas", [["x" * 60, "x" * 60], [""] * 3])
def test_p9_a_turn_is_bounded_in_characters_and_in_frames(deltas: list[str]) -> None:
    frames = Frames(TurnRules(characters=100))

    taken = [frames.take(frame(seq, delta)) for seq, delta in enumerate(deltas)]

    assert taken[-1] == "new"
    assert (frames.is_whole, frames.closing, len(frames.text)) == (True, "too_long", len(deltas[0]))
    assert frames.take(frame(9)) == "ignored"
