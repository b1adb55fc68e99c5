"""Turns as chat programs write them: what can be shown is, what cannot is counted, the judged one is never dropped."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import EventError
from schemas.handling import Handled
from schemas.reading.turns import Counts, normal_turns
from schemas.reasons import Reason

USER, ANSWER = {"role": "user", "content": "ask"}, {"role": "assistant", "content": "answer"}
CALL: dict[str, Any] = {"id": "c1", "type": "function", "function": {"name": "w", "arguments": "{}"}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://x.invalid/a.png"}}
DROPPED, MERGED, PARTS, HALVES = (
    Handled.TURNS_DROPPED, Handled.SYSTEM_TURNS_MERGED, Handled.PARTS_NOT_ASSESSED, Handled.SURROGATES_REPLACED,
)  # fmt: skip


def text(said: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": said}


def parts(*given: Any, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": list(given)}


def piece(said: str, kind: str = "text") -> dict[str, Any]:
    return {"type": kind, "text": said}


def normal(*turns: Any) -> tuple[list[tuple[str, str]], dict[Handled, int]]:
    counts: Counts = Counter()
    shown = normal_turns(turns, counts)
    return [(turn["role"], turn["content"]) for turn in shown], dict(+counts)


SHOWN: list[tuple[str, list[Any], list[tuple[str, str]], dict[Handled, int]]] = [
    ("text parts are joined", [parts(piece("one"), piece("two"))], [("user", "one\ntwo")], {}),
    ("one part without a list", [text({"type": "text", "text": "one"})], [("user", "one")], {}),  # type: ignore[arg-type]
    (
        "an image beside a text is counted",
        [parts(piece("look"), IMAGE, {"type": "input_audio"})],
        [("user", "look")],
        {PARTS: 2},
    ),
    ("texts of the responses interface", [parts(piece("in", "input_text"))], [("user", "in")], {}),
    ("a text of the assistants interface", [parts({"type": "text", "text": {"value": "in"}})], [("user", "in")], {}),
    ("Slack's text within a block", [parts({"type": "section", "text": {"type": "mrkdwn", "text": "hi"}})],
     [("user", "hi")], {}),
    ("pieces of one text, as Telegram has them", [parts("see ", {"type": "link", "text": "x"}, "!")],
     [("user", "see x!")], {}),
    ("a tool's turns are dropped", [USER, {**text("", "assistant"), "content": None, "tool_calls": [CALL]},
     {**text("12 C", "tool"), "tool_call_id": "c1"}, ANSWER], [("user", "ask"), ("assistant", "answer")], {DROPPED: 2}),
    ("a function's turn is dropped", [USER, {"role": "function", "name": "w", "content": "12"}, ANSWER],
     [("user", "ask"), ("assistant", "answer")], {DROPPED: 1}),
    ("an unknown role is dropped", [text("x", "narrator"), USER], [("user", "ask")], {DROPPED: 1}),
    ("a developer is system", [text("brief", "developer"), USER], [("system", "brief"), ("user", "ask")], {}),
    ("system turns are merged", [text("a", "system"), text("b", "developer"), USER],
     [("system", "a\n\nb"), ("user", "ask")], {MERGED: 1}),
    ("a late system turn goes to the front", [USER, ANSWER, text("c", "system"), USER],
     [("system", "c"), ("user", "ask"), ("assistant", "answer"), ("user", "ask")], {MERGED: 1}),
    ("a greeting is dropped", [ANSWER, USER], [("user", "ask")], {DROPPED: 1}),
    ("two greetings are dropped", [ANSWER, ANSWER, USER, ANSWER], [("user", "ask"), ("assistant", "answer")],
     {DROPPED: 2}),
    ("a greeting behind a system turn is shown", [text("s", "system"), ANSWER, USER],
     [("system", "s"), ("assistant", "answer"), ("user", "ask")], {}),
    ("a picture that is answered stays a turn", [parts(IMAGE), ANSWER], [("user", ""), ("assistant", "answer")],
     {PARTS: 1}),
    ("a user's null that is answered stays a turn", [{"role": "user", "content": None}, ANSWER],
     [("user", ""), ("assistant", "answer")], {}),
    ("a refusal is what was said", [USER, {"role": "assistant", "content": None, "refusal": "No."}],
     [("user", "ask"), ("assistant", "No.")], {}),
    ("a refusal as a part", [USER, parts({"type": "refusal", "refusal": "No."}, role="assistant")],
     [("user", "ask"), ("assistant", "No.")], {}),
    ("a refusal beside an empty content", [USER, {**text("", "assistant"), "refusal": "No."}],
     [("user", "ask"), ("assistant", "No.")], {}),
    ("what a voice said", [USER, {**ANSWER, "content": None, "audio": {"id": "a", "transcript": "No."}}],
     [("user", "ask"), ("assistant", "No.")], {}),
    ("a voice as a part", [parts({"type": "input_audio", "transcript": "hi"})], [("user", "hi")], {}),
    ("a caption", [parts({"type": "image", "id": "1", "caption": "hi"})], [("user", "hi")], {}),
    ("parts beside an empty content", [{**text(""), "parts": [piece("hi")]}], [("user", "hi")], {}),
    ("a text beside a null", [{"role": "user", "content": None, "text": "hi"}], [("user", "hi")], {}),
    ("a content counts before all that stands beside it", [{**USER, "text": "x", "parts": [piece("y")]}],
     [("user", "ask")], {}),
    ("Gemini's", [{"role": "user", "parts": [{"text": "ask"}]}, {"role": "model", "parts": [{"text": "answer"}]}],
     [("user", "ask"), ("assistant", "answer")], {}),
    ("ShareGPT's", [{"from": "human", "value": "ask"}, {"from": "gpt", "value": "answer"}],
     [("user", "ask"), ("assistant", "answer")], {}),
    ("LangChain's", [{"type": "human", "content": "ask"}, {"type": "ai", "content": "answer"}],
     [("user", "ask"), ("assistant", "answer")], {}),
    ("Cohere's", [USER, {"role": "CHATBOT", "message": "answer"}], [("user", "ask"), ("assistant", "answer")], {}),
    ("ChatGPT's", [{"author": {"role": "user"}, "content": {"content_type": "text", "parts": ["ask"]}}],
     [("user", "ask")], {}),
    ("Claude's", [{"sender": "human", "text": "ask"}], [("user", "ask")], {}),
    ("any case of a role", [text("ask", "User"), text("answer", "ASSISTANT")],
     [("user", "ask"), ("assistant", "answer")], {}),
    ("names and further fields", [{**USER, "name": "bob"}, {**USER, "name": "eve"}],
     [("user", "ask"), ("user", "ask")], {}),
    ("half an emoji", [text("great day \ud83d")], [("user", "great day \ufffd")], {HALVES: 1}),
    ("halves in an old turn", [text("\udc00x\ud83d"), ANSWER, USER],
     [("user", "\ufffdx\ufffd"), ("assistant", "answer"), ("user", "ask")], {HALVES: 2}),
    ("two halves that belong together", [text("\ud83d\ude00 \ud83d")], [("user", "😀 \ufffd")], {HALVES: 1}),
    ("a string among the turns is dropped", ["x", None, 5, [], USER], [("user", "ask")], {DROPPED: 4}),
    ("old contents of any kind are dropped", [text(5), text({"a": 1}), USER],  # type: ignore[arg-type]
     [("user", ""), ("user", "ask")], {DROPPED: 1, PARTS: 1}),
]  # fmt: skip
REFUSED: list[tuple[str, list[Any], Reason]] = [
    ("system last", [USER, text("x", "system")], Reason.UNSUPPORTED_ROLE),
    ("a tool last", [USER, text("x", "tool")], Reason.UNSUPPORTED_ROLE),
    ("an unknown role last", [USER, text("x", "narrator")], Reason.UNSUPPORTED_ROLE),
    ("an answer to nothing", [ANSWER], Reason.UNSUPPORTED_ROLE),
    ("an answer behind a tool", [text("x", "tool"), ANSWER], Reason.UNSUPPORTED_ROLE),
    ("no role", [{"content": "x"}], Reason.MISSING_FIELD),
    ("no content", [{"role": "user"}], Reason.MISSING_FIELD),
    ("a string last", [USER, "x"], Reason.WRONG_TYPE),
    ("a number for a content", [text(5)], Reason.WRONG_TYPE),  # type: ignore[arg-type]
    ("parts of a form that nobody knows", [parts({"kind": "rich", "value": "x"})], Reason.WRONG_TYPE),
    ("a document of an editor", [parts({"type": "paragraph", "content": [piece("x")]})], Reason.WRONG_TYPE),
    ("white space", [text(" \n\u2028")], Reason.BLANK_TEXT),
    ("null", [{"role": "user", "content": None}], Reason.BLANK_TEXT),
    ("ShareGPT's null", [{"from": "human", "value": None}], Reason.BLANK_TEXT),
    ("no text in any member", [{"role": "user", "content": "", "parts": [IMAGE], "text": " "}], Reason.BLANK_TEXT),
    ("a refusal that is null", [USER, {"role": "assistant", "refusal": None}], Reason.MISSING_FIELD),
    ("a picture alone", [parts(IMAGE, {"type": "file", "file": {}})], Reason.BLANK_TEXT),
    ("Gemini's picture alone", [{"role": "user", "parts": [{"inlineData": {"data": "x"}}]}], Reason.BLANK_TEXT),
    ("Bedrock's picture alone", [parts({"image": {"format": "png"}})], Reason.BLANK_TEXT),
    ("a call in a part", [USER, {"role": "model", "parts": [{"functionCall": {"name": "x"}}]}], Reason.BLANK_TEXT),
    ("a step of Vercel's", [USER, parts({"type": "step-start"}, role="assistant")], Reason.BLANK_TEXT),
    ("a part whose text is null", [parts({"type": "text", "text": None})], Reason.BLANK_TEXT),
    ("a member of an unknown name", [parts({"rich": {"value": "x"}, "image": None})], Reason.WRONG_TYPE),
    ("attachments in a turn", [{"role": "user", "attachments": [{"url": "x"}]}], Reason.BLANK_TEXT),
    ("a picture with a blank text", [parts(piece(" "), IMAGE)], Reason.BLANK_TEXT),
    ("no parts", [parts()], Reason.BLANK_TEXT),
    ("a call alone", [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}], Reason.BLANK_TEXT),
    ("a call alone, without a content", [USER, {"role": "assistant", "tool_calls": [CALL]}], Reason.BLANK_TEXT),
]


@pytest.mark.parametrize(("given", "shown", "done"), [case[1:] for case in SHOWN], ids=[case[0] for case in SHOWN])
def test_what_is_shown_and_what_was_done(
    given: list[Any], shown: list[tuple[str, str]], done: dict[Handled, int]
) -> None:
    assert normal(*given) == (shown, done)


@pytest.mark.parametrize(("given", "reason"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_only_the_judged_turn_is_refused(given: list[Any], reason: Reason) -> None:
    with pytest.raises(EventError) as raised:
        normal(*given)
    assert raised.value.reason is reason


TURNS = st.one_of(
    st.none(),
    st.text(max_size=3),
    st.fixed_dictionaries(
        {},
        optional={
            "role": st.sampled_from(["user", "assistant", "system", "developer", "tool", "function", "x", None, 5]),
            "content": st.one_of(
                st.none(),
                st.integers(),
                st.text(st.sampled_from("ab \ud83d\ude00é"), max_size=4),
                st.lists(st.one_of(st.text(max_size=2), st.just(IMAGE), st.just(piece("p")), st.none()), max_size=3),
            ),
            "refusal": st.none() | st.text(max_size=2),
        },
    ),
)


def outcome(*turns: Any) -> tuple[list[tuple[str, str]], dict[Handled, int]] | Reason:
    try:
        return normal(*turns)
    except EventError as error:
        return error.reason


@given(st.lists(TURNS, min_size=1, max_size=6))
def test_context_costs_nothing_and_the_template_shows_all_that_is_left(turns: list[Any]) -> None:
    alone, given = outcome(USER, turns[-1]), outcome(*turns)
    if isinstance(alone, Reason):
        assert given is alone
        return
    if isinstance(given, Reason):  # an answer to nobody
        assert (given, alone[0][-1][0]) == (Reason.UNSUPPORTED_ROLE, "assistant")
        return
    shown, done = given
    roles = [role for role, _ in shown]
    assert shown[-1] == alone[0][-1]
    assert roles[0] != "assistant"
    assert "system" not in roles[1:]
    assert set(roles) <= {"system", "user", "assistant"}
    assert all(char < "\ud800" or char > "\udfff" for _, content in shown for char in content)
    assert all(count > 0 for count in done.values())
    assert normal(*[text(content, role) for role, content in shown]) == (shown, {})
