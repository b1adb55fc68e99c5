"""The length policy: what is judged is within the limit, windows leave nothing of the last message out."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.fitting.length import (
    MIN_CHARACTER_UNITS,
    Conversation,
    Fitted,
    estimate_tokens,
    fit,
    text_units,
    tokens_of,
)
from pipelines.fitting.length_policy import MIN_TOKENS, LengthPolicy, Mode, reach
from schemas.errors import ConfigurationError, EventError
from schemas.event import decode_event
from schemas.reasons import Reason, Stage
from schemas.record import SourceRecord

LIMIT = 100
WORDS = "the quick brown fox jumps over the lazy dog and does it again, every day of the week. "
# Tokens of Qwen's own BPE (the `qwen.tiktoken` of Alibaba's dashscope package), for texts that the estimate must suit.
TRUE_COUNTS = {
    "The quick brown fox jumps over the lazy dog. I don't think we should go there tonight!": 20,
    "lol u gonna b there 2nite?? idk tbh, hmu when ur free :) gg wp ez noob": 25,
    "Haluaisin tietää, milloin seuraava juna lähtee Helsingistä Tampereelle ja paljonko lippu maksaa.": 37,
    "Привет, как дела? Я хотел бы узнать, во сколько начинается вечернее представление в театре.": 25,
    "Καλημέρα, θα ήθελα να μάθω τι ώρα ξεκινάει η αποψινή παράσταση στο θέατρο.": 68,
    "مرحبا، أود أن أعرف متى يبدأ العرض المسائي في المسرح الكبير بالمدينة.": 25,
    "नमस्ते, मैं जानना चाहता हूँ कि आज शाम का कार्यक्रम कितने बजे शुरू होगा।": 67,
    "నమస్కారం, ఈ సాయంత్రం కార్యక్రమం ఎన్ని గంటలకు ప్రారంభమవుతుందో తెలుసుకోవాలనుకుంటున్నాను.": 130,
    "สวัสดีครับ ผมอยากทราบว่าการแสดงคืนนี้เริ่มกี่โมงและต้องซื้อตั๋วที่ไหน": 38,
    "မင်္ဂလာပါ၊ ဒီညပွဲ ဘယ်အချိန်စမလဲဆိုတာ သိချင်ပါတယ်။": 70,
    "你好，我想知道今晚的演出几点开始，票在哪里可以买到，谢谢你的帮助。": 19,
    "龘靐齉爩鱻麤灪籲鸝驫虋讟钃鸜麷鞻韽韾": 35,
    "こんにちは、今夜の公演は何時に始まるのか、チケットはどこで買えるのか教えてください。": 24,
    "안녕하세요, 오늘 저녁 공연이 몇 시에 시작하는지 그리고 표는 어디에서 살 수 있는지 알고 싶습니다.": 31,
    "4111 1111 1111 1111, 2026-11-21 07:48:53, +49 170 1234567": 56,
    "𒀀𒀁𒀂𒀃𒀄𒀅𒀆𒀇": 16,
    "\x00\x01\x02\x7f": 4,
}


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def system(text: str) -> dict[str, str]:
    return {"role": "system", "content": text}


def policy(mode: Mode, max_tokens: int = LIMIT, overlap: int = 10, windows: int = 1000) -> LengthPolicy:
    return LengthPolicy(mode, max_tokens, overlap, windows)


@pytest.mark.parametrize(("text", "true"), TRUE_COUNTS.items())
def test_the_estimate_is_never_far_under_and_seldom_far_over(text: str, true: int) -> None:
    assert 0.5 <= estimate_tokens(text) / true <= 2.0


CHARACTERS = st.characters() | st.sampled_from(" \n\téжहกก中한😀\u200d\u0301\ud800")
TEXTS = st.text(CHARACTERS, max_size=300) | st.text(CHARACTERS, max_size=20).map(lambda text: text * 40)


@given(TEXTS, TEXTS)
def test_the_estimate_adds_up_and_is_bounded_by_the_bytes(one: str, other: str) -> None:
    assert text_units(one) + text_units(other) == text_units(one + other)
    assert estimate_tokens(one) <= len(one.encode("utf-8", "surrogatepass"))
    assert text_units(one) >= MIN_CHARACTER_UNITS * len(one)


@given(TEXTS, st.integers(-5, 3000), st.booleans())
def test_reach_takes_all_that_fits_and_no_more(text: str, units: int, from_end: bool) -> None:
    count = reach(text, units, from_end=from_end)
    ordered = text[::-1] if from_end else text
    assert text_units(ordered[:count]) <= max(units, 0)
    assert count == len(text) or text_units(ordered[: count + 1]) > units


def test_what_fits_is_handed_on_as_it_is() -> None:
    conversation = (system("be kind"), user("hi"), assistant("hello"))
    for mode in ("dead_letter", "truncate_middle", "window"):
        fitted = fit(conversation, policy(mode))
        assert fitted.conversations[0] is conversation
        assert fitted[1:] == ("whole", 0, (sum(text_units(turn["content"]) + 80 for turn in conversation) // 16 + 1,))


def test_dead_letter_names_estimate_and_limit_but_not_the_text() -> None:
    with pytest.raises(EventError, match=r"about \d{3} tokens, the limit is 100$") as raised:
        fit((user(WORDS * 20),), policy("dead_letter"))
    assert (raised.value.reason, raised.value.stage) == (Reason.TOO_LONG, Stage.RENDER)
    assert "quick" not in raised.value.detail


def test_more_windows_than_allowed_are_refused() -> None:
    text = WORDS * 20
    count = len(fit((user(text),), policy("window")).conversations)
    assert fit((user(text),), policy("window", windows=count)).handling == "windowed"
    with pytest.raises(EventError, match="the limit is 100 in each of") as raised:
        fit((user(text),), policy("window", windows=count - 1))
    assert raised.value.reason is Reason.TOO_LONG


@pytest.mark.parametrize("mode", ["truncate_middle", "window"])
def test_the_oldest_context_goes_first(mode: Mode) -> None:
    old, newer, answer, last = user("old " + WORDS * 4), user("newer"), assistant("answer"), user("last")
    fitted = fit((old, assistant("yes"), newer, answer, last), policy(mode))
    assert fitted.conversations == ((newer, answer, last),)
    assert fitted.characters_dropped == len(old["content"]) + len("yes")
    assert fitted.handling == ("windowed" if mode == "window" else "truncated_middle")


@pytest.mark.parametrize("mode", ["truncate_middle", "window"])
def test_a_leading_system_turn_stays_if_it_fits(mode: Mode) -> None:
    rules, last = system("rules"), user("last")
    fitted = fit((rules, user(WORDS * 5), assistant("a"), last), policy(mode))
    assert fitted.conversations == ((rules, last),)
    fitted = fit((system(WORDS * 5), user("q"), assistant("a"), last), policy(mode))
    assert fitted.conversations == ((user("q"), assistant("a"), last),)


@pytest.mark.parametrize("mode", ["truncate_middle", "window"])
def test_an_answer_keeps_its_question_even_where_that_has_to_be_cut(mode: Mode) -> None:
    question = "START" + WORDS * 20 + "END"
    fitted = fit((user("old"), assistant("old"), user(question), assistant(WORDS * 10)), policy(mode))
    for conversation in fitted.conversations:
        assert [turn["role"] for turn in conversation] == ["user", "assistant"]
        assert conversation[0]["content"].startswith("START")
        assert conversation[0]["content"].endswith("END")
        assert len(conversation[0]["content"]) > 20


def test_truncation_keeps_both_ends() -> None:
    text = "START" + WORDS * 50 + "END"
    fitted = fit((user(text),), policy("truncate_middle"))
    kept = fitted.conversations[0][0]["content"]
    assert kept.startswith("START")
    assert kept.endswith("END")
    assert fitted.characters_dropped == len(text) - len(kept)
    assert 0.9 * LIMIT <= fitted.tokens[0] <= LIMIT


def test_truncation_that_leaves_nothing_to_judge_is_refused() -> None:
    with pytest.raises(EventError, match="blank") as raised:
        fit((user(" " * 5000 + "something bad" + " " * 5000),), policy("truncate_middle"))
    assert raised.value.reason is Reason.TOO_LONG


@pytest.mark.parametrize("piece", ["e\u0301", "👍🏽\u200d❤\ufe0f", "ก็", "नि"])
@pytest.mark.parametrize("mode", ["truncate_middle", "window"])
def test_cuts_keep_marks_and_joined_emoji_with_their_base(piece: str, mode: Mode) -> None:
    for padding in range(8):
        for conversation in fit((user("x" * padding + piece * 300),), policy(mode, overlap=20)).conversations:
            assert conversation[-1]["content"].lstrip("x").replace(piece, "") == ""


def test_neighbouring_windows_overlap_and_nothing_is_between_them() -> None:
    text = "".join(f"<{number}>" for number in range(400))
    windows = [turns[-1]["content"] for turns in fit((user(text),), policy("window", overlap=20)).conversations]
    assert text.startswith(windows[0])
    assert text.endswith(windows[-1])
    for one, following in itertools.pairwise(windows):
        repeated = text[text.index(following) : text.index(one) + len(one)]
        assert 15 <= estimate_tokens(repeated) <= 22


def _turns() -> st.SearchStrategy[Conversation]:
    def build(parts: tuple[str | None, list[tuple[str, str]], str, str]) -> Conversation:
        first, middle, role, last = parts
        turns = [] if first is None else [system(first)]
        turns += [user("q")] + [{"role": name, "content": text} for name, text in middle]
        return (*turns, {"role": role, "content": last + "."})

    long_text = st.builds(lambda text, times: text * times, TEXTS, st.sampled_from([1, 1, 5]))
    roles = st.sampled_from(["user", "assistant"])
    middle = st.lists(st.tuples(roles, st.text(CHARACTERS, max_size=200)), max_size=4)
    return st.tuples(st.none() | st.text(max_size=100), middle, roles, long_text).map(build)


LIMITS = st.sampled_from([MIN_TOKENS, LIMIT, 400])


def _check(conversation: Conversation, fitted: Fitted, limit: int) -> None:
    assert fitted.characters_dropped >= 0
    assert len(fitted.conversations) == len(fitted.tokens)
    for turns, tokens in zip(fitted.conversations, fitted.tokens, strict=True):
        assert sum(estimate_tokens(turn["content"]) for turn in turns) <= tokens + len(turns)
        assert tokens <= limit
        assert turns[0]["role"] != "assistant"
        assert all(turn["role"] != "system" for turn in turns[1:])
        assert turns[-1]["role"] == conversation[-1]["role"]
        assert turns[-1]["role"] == "user" or any(turn["role"] == "user" for turn in turns)
    if fitted.handling == "whole":
        assert fitted.conversations == (conversation,)


@settings(deadline=None)
@given(_turns(), LIMITS, st.integers(0, 32))
def test_windows_cover_every_character_and_are_within_the_limit(
    conversation: Conversation, limit: int, overlap: int
) -> None:
    rule = policy("window", limit, overlap, 10_000)
    fitted = fit(conversation, rule)
    _check(conversation, fitted, limit)
    text = conversation[-1]["content"]
    pieces = [turns[-1]["content"] for turns in fitted.conversations]
    assert overlap or "".join(pieces) == text
    ends = {0}
    for piece in pieces:
        # All places where it could be from: a repetitive text holds it at several.
        ends = {start + len(piece) for start in range(max(ends) + 1) if text.startswith(piece, start)}
        assert ends, "characters were skipped"
    assert len(text) in ends
    assert fitted == fit(conversation, rule)


@settings(deadline=None)
@given(_turns(), LIMITS)
def test_truncation_is_within_the_limit_and_counts_what_it_dropped(conversation: Conversation, limit: int) -> None:
    rule = policy("truncate_middle", limit)
    try:
        fitted = fit(conversation, rule)
    except EventError as error:
        assert "blank" in error.detail  # noqa: PT017
        return
    _check(conversation, fitted, limit)
    (turns,) = fitted.conversations
    given_characters = sum(len(turn["content"]) for turn in conversation)
    assert given_characters - sum(len(turn["content"]) for turn in turns) == fitted.characters_dropped
    assert fitted == fit(conversation, rule)


@pytest.mark.parametrize("mode", ["truncate_middle", "window"])
def test_p9_a_100k_token_text_is_cut_into_bounded_pieces(mode: Mode) -> None:
    conversation = (user("context " * 1000), assistant("x" * 100_000), user((WORDS + "日本語😀") * 4_000))
    assert estimate_tokens(conversation[-1]["content"]) > 100_000
    fitted = fit(conversation, policy(mode, 4096, 256))
    assert max(fitted.tokens) <= 4096


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"max_tokens": MIN_TOKENS - 1}, "max_tokens: 63"),
    ({"max_tokens": 100, "overlap_tokens": 51}, "overlap_tokens: 51"),
    ({"max_tokens": 100, "overlap_tokens": -1}, "overlap_tokens: -1"),
    ({"max_tokens": 100, "max_windows": 0}, "max_windows: 0"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_a_wrong_parameter_is_named_with_its_value(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        LengthPolicy("window", **arguments)


def test_the_signature_tells_policies_apart() -> None:
    made = [policy("window"), policy("dead_letter"), policy("window", 200), policy("window", overlap=1)]
    made.append(policy("window", windows=3))
    assert len({rule.signature for rule in made}) == len(made)
    assert tokens_of(17) == 2


def test_a_history_of_megabytes_and_thousands_of_turns_loses_its_old_turns_where_the_limits_let_it_in() -> None:
    history = [user("good morning " * 40), {"role": "assistant", "content": "hello " * 80}] * 3_000
    value = json.dumps({"event_id": "e", "messages": [*history, user("now this")]}).encode()
    event = decode_event(SourceRecord("t", 0, 0, 0, b"k", value, []), 8 * 2**20)
    (conversation,) = fit(event.messages, policy("window")).conversations

    assert len(value) > 2**21
    assert conversation[-1]["content"] == "now this"
    assert len(conversation) < 100
    with pytest.raises(EventError, match=rf"value: {len(value)} bytes, limits\.max_event_bytes is 1048576"):
        decode_event(SourceRecord("t", 0, 0, 0, b"k", value, []), 2**20)
