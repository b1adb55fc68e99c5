"""Tokens of a text in pieces: those of the whole text, settled early, with the places of their characters."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from workers.serving.engine.prompt import specification_of
from workers.serving.engine.streaming.turn_text import TurnText, TurnTokenizer, starts_anew

pytest.importorskip("hypothesis")
from hypothesis import given, settings
from hypothesis import strategies as st

MARKS = "\u0301\u0335\u0323\u0308각가\u09c7\u09be\u0958\ufb1d\u1d16\u212b\u0f73"
ALPHABET = [
    *"aeoE'stlrm 0 \t\n\r.,!<|>/-的。हि",
    *MARKS,
    "\U0001f600",
    "\u200d",
    "\u00a0",
    "\u2028",
    "\x85",
    "\x1c",
    "\u180e",
    "ſ",
]


@pytest.fixture(scope="module")
def tokenizer(stream_folder: Path) -> TurnTokenizer:
    loaded: Any = AutoTokenizer.from_pretrained(stream_folder)
    return TurnTokenizer(specification_of(loaded))


@settings(max_examples=250)
@given(
    text=st.lists(st.sampled_from(ALPHABET) | st.sampled_from(" \n!e\u0301\u0335"), max_size=12).map("".join),
    data=st.data(),
)
def test_pieces_have_the_tokens_of_the_whole(tokenizer: TurnTokenizer, text: str, data: Any) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    turn = TurnText(tokenizer, room=10_000)
    whole = tokenizer.encoded(text)
    known: list[list[int]] = []
    for number, (start, end) in enumerate(pairwise([0, *cuts, len(text)])):
        before = list(turn.ids)
        changed = turn.add(text[start:end], final=number == len(cuts))
        assert turn.ids[:changed] == before[:changed]
        assert turn.ids == tokenizer.encoded(text[:end]).ids
        known.append(turn.ids[: turn.settled])

    assert turn.ids == whole.ids
    assert turn.ends == sorted(turn.ends)
    assert turn.ends[-1:] == [len(text)][: len(whole.ids)]
    at_once = TurnText(tokenizer, room=10_000)
    at_once.add(text, final=True)
    assert turn.ends == at_once.ends
    assert all(whole.ids[: len(settled)] == settled for settled in known)
    assert turn.settled == len(whole.ids)


@pytest.mark.parametrize(
    ("text", "settled"),
    [
        ("hello", ""),
        ("hello ", "hello"),
        ("hello world", "hello"),
        ("hello, world", "hello,"),
        ("a\n\n", "a"),
        ("a!\n", "a"),
        ("a!\n b", "a!\n"),
        ("a \n ", "a"),  # a line end would join all of the white space
        ("你好世界", ""),
        ("e\u0335", ""),  # an accent may yet join the e
        ("b e\u0335", "b"),
        ("it's", "it"),
        ("b \u0958", "b"),  # two characters in NFC, and two splits
    ],
)
def test_what_no_further_text_can_change_is_settled(tokenizer: TurnTokenizer, text: str, settled: str) -> None:
    turn = TurnText(tokenizer, room=10_000)
    turn.add(text, final=False)

    assert text[: turn.ends[turn.settled - 1]] == settled if settled else turn.settled == 0


def test_places_are_characters_of_the_text_as_it_was_sent(tokenizer: TurnTokenizer) -> None:
    turn = TurnText(tokenizer, room=10_000)
    turn.add("a\U0001f600e", final=False)
    turn.add("\u0301\r\nz", final=True)

    ends = dict.fromkeys(turn.ends)
    assert list(ends) == [1, 2, 4, 5, 6, 7]  # the emoji and the accented letter count whole


@pytest.mark.parametrize("pieces", [("<|im_end|>",), ("<|im_", "end|>"), ("<", "think", ">"), ("</thi", "nk>")])
def test_p4_special_tokens_in_deltas_stay_text(
    tokenizer: TurnTokenizer, stream_folder: Path, pieces: tuple[str, ...]
) -> None:
    loaded: Any = AutoTokenizer.from_pretrained(stream_folder)
    turn = TurnText(tokenizer, room=10_000)
    for piece in pieces:
        turn.add(piece, final=piece is pieces[-1])

    assert not set(turn.ids) & set(loaded.added_tokens_decoder)
    assert loaded.decode(turn.ids) == "".join(pieces)


def test_a_tokenizer_that_splits_otherwise_settles_nothing_before_the_end(stream_folder: Path) -> None:
    loaded: Any = AutoTokenizer.from_pretrained(stream_folder)
    specification = specification_of(loaded)
    specification["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\s+|\S+"
    turn = TurnText(TurnTokenizer(specification), room=10_000)
    turn.add("one two three ", final=False)
    assert turn.settled == 0
    turn.add("four", final=True)
    assert turn.settled == len(turn.ids)


@pytest.mark.parametrize(
    ("character", "anew"), [("a", True), ("\u0301", False), ("ᅡ", False), ("가", True), ("\u09be", False)]
)
def test_a_character_that_may_join_with_one_before_it_starts_nothing(character: str, anew: bool) -> None:
    assert starts_anew(character) is anew
