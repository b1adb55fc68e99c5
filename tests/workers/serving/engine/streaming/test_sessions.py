"""What a session says and when: the user's turn, provisional tokens, debounce, limits; what a bad push is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.workers.serving.engine.streaming.stream_models import asked, judged, pushed, settled, write_stream_model
from workers.serving.engine.stream_guard import StreamGuard
from workers.serving.engine.streaming.stream_model import StreamModel, load_stream_model
from workers.serving.engine.streaming.verdicts import Raising, SessionRefusedError

# What Qwen3's own template does with turns of text: an earlier answer loses its thinking.
QWEN3_TEMPLATE = """
{%- for message in messages %}{%- set content = message.content %}
{%- if message.role in ['user', 'system'] %}
{{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
{%- elif message.role == 'assistant' %}
{%- if '</think>' in content %}{%- set content = content.split('</think>')[-1].lstrip('\n') %}{%- endif %}
{{- '<|im_start|>' + message.role + '\n' + content.lstrip('\n') + '<|im_end|>\n' }}
{%- endif %}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}
{{- '<think>\n\n</think>\n\n' }}{%- endif %}{%- endif %}"""


def test_the_users_turn_is_judged_once_at_its_closing_token(guard: StreamGuard) -> None:
    question = "the quick brown 你好?"
    session = guard.open(asked(question))
    first, second = pushed(guard, session, ""), pushed(guard, session, "hello world")
    guard.close(session)

    [verdict] = first
    assert (verdict.role, verdict.offset, verdict.provisional) == ("user", len(question), False)
    assert verdict.raised == (verdict.risk != "Safe")
    assert "Jailbreak" in verdict.probabilities["category"]
    assert {verdict.role for verdict in second} == {"assistant"}
    assert "Jailbreak" not in second[0].probabilities["category"]


def test_an_answer_that_has_begun_is_judged_from_its_start(guard: StreamGuard) -> None:
    begun = [*asked(), {"role": "assistant", "content": "the quick brown"}]

    assert judged(guard, begun, " fox") == judged(guard, asked(), "the quick brown fox")


def test_earlier_turns_are_context_and_get_no_verdict(guard: StreamGuard) -> None:
    earlier = [{"role": "system", "content": "be kind"}, *asked("hi"), {"role": "assistant", "content": "\nyo"}]
    with_them, without = judged(guard, [*earlier, *asked()], "fine"), judged(guard, asked(), "fine")

    assert [(v.role, v.index, v.offset) for v in with_them] == [(v.role, v.index, v.offset) for v in without]
    assert with_them != without


def test_a_run_without_boundary_is_judged_before_it_ends(guard: StreamGuard) -> None:
    session = guard.open(asked())
    pushed(guard, session, "")
    seen = [pushed(guard, session, letter) for letter in "你好世界"]
    [*settled_then] = settled(pushed(guard, session, "。", final=True))
    guard.close(session)

    assert all(verdict.provisional for verdicts in seen for verdict in verdicts)
    assert [verdicts[-1].offset for verdicts in seen] == [1, 2, 3, 4]
    assert settled_then[-1].offset == 5


def test_every_settled_token_is_said_once_and_in_order(guard: StreamGuard) -> None:
    text = "the quick brown fox, says hello\r\n\r\nworld \U0001f600!"
    verdicts = judged(guard, asked(), *text)

    assert [verdict.index for verdict in verdicts[1:]] == list(range(len(verdicts) - 1))
    offsets = [verdict.offset for verdict in verdicts[1:]]
    assert offsets == sorted(offsets)
    assert offsets[-1] == len(text)
    assert judged(guard, asked(), "")[1:] == []


@pytest.mark.parametrize(
    ("debounce", "risks", "raised_from"),
    [
        ("paper", "USCSUU", 5),
        ("paper", "SUCSS", 2),
        ("paper", "CUSS", 1),
        ("paper", "UU", 1),
        ("paper", "USUSC", None),
        ("script", "UCUCSS", None),
        ("script", "SUCCS", 3),
        ("script", "SUUSC", 2),
        ("script", "U", None),
    ],
)
def test_when_a_turn_is_raised(debounce: Any, risks: str, raised_from: int | None) -> None:
    names = {"S": "Safe", "U": "Unsafe", "C": "Controversial"}
    state, raised = Raising(debounce), []
    for letter in risks:
        state = state.after(names[letter])
        raised.append(state.raised)

    start = len(risks) if raised_from is None else raised_from
    assert raised == [index >= start for index in range(len(risks))]  # a Safe behind it takes nothing back


@pytest.mark.parametrize("debounce", ["paper", "script"])
def test_a_guard_raises_by_its_rule(stream_folder: Path, debounce: Any) -> None:
    guard = StreamGuard.load(str(stream_folder), device="cpu", debounce=debounce)
    verdicts = judged(guard, asked(), "the quick brown fox says hello world 12 " * 8)[1:]
    state = Raising(debounce)
    for verdict in verdicts:
        state = state.after(verdict.risk)
        assert verdict.raised == state.raised
    assert {verdict.raised for verdict in verdicts} == {False, True}


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "empty_conversation"),
        ([{"role": "assistant", "content": "a"}], "empty_conversation"),
        ([*asked(), {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}], "unsupported_role"),
        ([*asked(), {"role": "tool", "content": "a"}], "unsupported_role"),
        ([{"role": "poet", "content": "a"}, *asked()], "unsupported_role"),
        ([{"role": "user", "content": 3}], "invalid_text"),
        ([{"role": "user", "content": "\ud83d"}], "invalid_text"),
        ([*asked(), {"role": "assistant", "content": None}], "invalid_text"),
        ([*asked(), {"role": "assistant", "content": "\ude00"}], "invalid_text"),
        (["hello"], "unsupported_role"),
        (asked("word " * 2000), "context_overflow"),
    ],
)
def test_a_conversation_that_cannot_be_opened_says_why(guard: StreamGuard, messages: Any, reason: str) -> None:
    with pytest.raises(SessionRefusedError) as refused:
        guard.open(messages)
    assert refused.value.reason == str(refused.value) == reason


@pytest.mark.parametrize(
    ("spoil", "delta", "reason"),
    [
        (lambda guard, session: pushed(guard, session, "end", final=True), "more", "delta_after_final"),
        (lambda guard, session: guard.close(session), "more", "session_closed"),
        (lambda *_: None, "\ud83d", "invalid_text"),  # half a code point; the other half does not mend it
        (lambda *_: None, b"bytes", "invalid_text"),
        (lambda *_: None, "x" * 65_537, "delta_too_large"),
    ],
)
def test_a_bad_push_says_why_and_its_neighbours_are_judged(
    guard: StreamGuard, spoil: Callable[[StreamGuard, Any], Any], delta: Any, reason: str
) -> None:
    bad, good = guard.open(asked()), guard.open(asked())
    spoil(guard, bad)
    refused, verdicts = guard.push([(bad, delta, False), (good, "hello world", True)])

    assert (list(refused), refused.error) == ([], reason)
    assert verdicts == judged(guard, asked(), "hello world")
    guard.close(bad)
    guard.close(good)


def test_a_refused_push_leaves_its_session_as_it_was(guard: StreamGuard) -> None:
    session = guard.open(asked())
    found = [*settled(pushed(guard, session, "the quick ")), *pushed(guard, session, "\udc00")]
    found += settled(pushed(guard, session, "brown fox", final=True))
    guard.close(session)

    assert found == judged(guard, asked(), "the quick brown fox")


def test_two_pushes_of_one_session_in_one_call_are_taken_in_order(guard: StreamGuard) -> None:
    session, other = guard.open(asked()), guard.open(asked("other"))
    lists = guard.push([(session, "hello ", False), (other, "x", True), (session, "world", True), (session, "!", True)])
    guard.close(session)
    guard.close(other)

    assert settled([*lists[0], *lists[2]]) == judged(guard, asked(), "hello world")
    assert lists[3].error == "delta_after_final"


def test_a_session_of_another_guard_is_refused(guard: StreamGuard, stream_folder: Path) -> None:
    foreign = StreamGuard.load(str(stream_folder), device="cpu").open(asked())

    assert pushed(guard, foreign, "x").error == "session_closed"


def test_a_flood_of_sessions_is_refused_and_closing_makes_room(stream_folder: Path) -> None:
    guard = StreamGuard.load(str(stream_folder), device="cpu", max_sessions=2)
    one, _ = guard.open(asked()), guard.open(asked())
    with pytest.raises(SessionRefusedError, match="too_many_sessions"):
        guard.open(asked())
    guard.close(one)
    guard.open(asked())


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> StreamGuard:
    """A model of 64 tokens."""
    folder = write_stream_model(tmp_path_factory.mktemp("short"), max_position_embeddings=64)
    return StreamGuard.load(str(folder), device="cpu")


@pytest.mark.parametrize("size", [3, 400])
def test_what_is_beyond_the_context_is_not_judged_and_says_so(short: StreamGuard, size: int) -> None:
    text = "hello world, says the fox! " * 12
    session = short.open(asked())
    found, errors = [], []
    for start in range(0, len(text), size):
        verdicts = pushed(short, session, text[start : start + size])
        found += settled(verdicts)
        errors.append(verdicts.error)
        assert len(verdicts) <= 64
    first = errors.index("context_overflow") if "context_overflow" in errors else len(errors)
    short.close(session)

    assert errors == [None] * first + ["context_overflow"] * (len(errors) - first)
    assert first < len(errors)
    whole = short.open(asked())
    assert found == settled(pushed(short, whole, text, final=True))  # however it came
    assert 30 < len(found) < 64
    short.close(whole)


def test_an_endless_word_ends_as_an_overflow(short: StreamGuard) -> None:
    session = short.open(asked())
    lists = [pushed(short, session, "z" * 1000) for _ in range(4)]
    short.close(session)
    whole = short.open(asked())
    at_once = pushed(short, whole, "z" * 4000, final=True)
    short.close(whole)

    assert lists[-1].error == at_once.error == "context_overflow"
    # The word is cut by the context's end, so none of it is settled, however it came.
    found = [verdict for verdicts in lists for verdict in settled(verdicts)]
    assert [verdict.role for verdict in found] == ["user"]
    assert settled(at_once) == found


def test_numbers_that_are_not_finite_are_one_sessions_error(stream_folder: Path) -> None:
    model: StreamModel = load_stream_model(str(stream_folder), device="cpu")
    guard = StreamGuard(model)
    poisoned = model.tokenizer.convert_tokens_to_ids("z")
    with torch.no_grad():
        model.network.embed_tokens.weight[poisoned] = torch.nan
    bad, good = guard.open(asked()), guard.open(asked())
    refused, verdicts = guard.push([(bad, "a z", False), (good, "hello", True)])

    assert (list(refused), refused.error) == ([], "non_finite_logits")
    assert pushed(guard, bad, "more").error == "non_finite_logits"
    assert verdicts.error is None
    assert len(verdicts) > 1


def test_a_template_that_takes_thinking_out_of_earlier_answers_is_rendered(tmp_path: Path, stream_folder: Path) -> None:
    theirs = StreamGuard.load(str(write_stream_model(tmp_path / "model", template=QWEN3_TEMPLATE)), device="cpu")
    ours = StreamGuard.load(str(stream_folder), device="cpu")
    for thought in ("<think>\nhm\n</think>\n\nyes", "\n\nyes"):
        turns = [*asked("hi"), {"role": "assistant", "content": thought}, *asked("and?")]
        plain = [*asked("hi"), {"role": "assistant", "content": "yes"}, *asked("and?")]
        assert judged(theirs, turns, "hello") == judged(ours, plain, "hello") == judged(ours, turns, "hello")
