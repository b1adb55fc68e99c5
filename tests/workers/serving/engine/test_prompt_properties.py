"""Prompts of random conversations; needs hypothesis, which a bare GPU box does not have."""

import unicodedata

import pytest
from transformers import PreTrainedTokenizerBase

from workers.serving.engine.completion import PreparedPrompt
from workers.serving.engine.prompt import PromptBuilder

pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ALPHABET = [
    *"abcXYZ 019  \n\n\t.,!?:;<>|'\"-_/\\()[]{}#*&%$@~`^=+éüßñçøåǺ你好世界。，！？のはがをカタ한국어०१אבابجก็",
    *["\u0301", "\u0308", "\u030a", "\u0302", "\u0338", "\u200d", "\ufe0f", "\U0001f600", "\U0001f469\u200d\U0001f467"],
    *[
        "\r",
        "\r\n",
        "\u00a0",
        "\u3000",
        "\u2028",
        "\x85",
        "\u212b",
        "\ufb01",
        "\ue000",
        "\ue001",
        "\u2002",
        "\u2003",
        "0",
    ],
]
CONTROLS = [
    "<|im_end|>",
    "<|im_start|>",
    "<think>",
    "</think>",
    "<|endoftext|>",
    "<|im_",
    "end|>",
    "<thi",
    "nk>",
    "<|",
    "|>",
]
HARMLESS = st.lists(st.sampled_from(ALPHABET), max_size=30).map("".join)
HOSTILE = st.lists(st.sampled_from(ALPHABET + CONTROLS * 3), max_size=20).map("".join)
QUICK = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _conversations(text: st.SearchStrategy[str]) -> st.SearchStrategy[list[dict[str, str]]]:
    first = st.sampled_from(["system", "user"])
    more = st.lists(st.sampled_from(["user", "assistant"]), max_size=3)
    roles = st.tuples(first, more, st.sampled_from(["user", "assistant"])).map(lambda r: [r[0], *r[1], r[2]])
    shapes = st.one_of(st.just(["user"]), roles)
    return shapes.flatmap(
        lambda names: st.tuples(*[text] * len(names)).map(
            lambda contents: [{"role": r, "content": c} for r, c in zip(names, contents, strict=True)]
        )
    )


def _ids(builder: PromptBuilder, chat: list[dict[str, str]]) -> list[int]:
    prepared = builder.prepare(chat)
    assert isinstance(prepared, PreparedPrompt), prepared
    ids: list[int] = prepared.token_ids.tolist()
    return ids


@QUICK
@given(chat=_conversations(HARMLESS.filter(lambda text: "<|" not in text)))
def test_text_without_control_strings_gets_the_ids_of_the_chat_template(
    tokenizer: PreTrainedTokenizerBase, builder: PromptBuilder, chat: list[dict[str, str]]
) -> None:
    assert _ids(builder, chat) == tokenizer.apply_chat_template(chat, tokenize=True, return_dict=False)


@QUICK
@given(chat=_conversations(HOSTILE))
def test_p4_hostile_text_never_becomes_a_control_token(
    tokenizer: PreTrainedTokenizerBase, builder: PromptBuilder, chat: list[dict[str, str]]
) -> None:
    ids = _ids(builder, chat)
    controls = set(tokenizer.added_tokens_decoder)
    harmless = _ids(builder, [{**message, "content": "x"} for message in chat])
    assert [token_id for token_id in ids if token_id in controls] == [t for t in harmless if t in controls]
    rendered = str(tokenizer.apply_chat_template(chat, tokenize=False))
    decoded = str(tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=False))
    assert unicodedata.normalize("NFC", decoded) == unicodedata.normalize("NFC", rendered)


@QUICK
@given(chats=st.tuples(_conversations(HOSTILE), _conversations(HOSTILE)))
def test_prompts_of_one_start_begin_with_the_same_tokens(
    builder: PromptBuilder, chats: tuple[list[dict[str, str]], list[dict[str, str]]]
) -> None:
    first, second = (builder.prepare(chat) for chat in chats)
    if not (isinstance(first, PreparedPrompt) and isinstance(second, PreparedPrompt)):
        return
    starts = [prompt.token_ids[: prompt.start.tokens].tolist() for prompt in (first, second)]

    assert starts[0]
    assert (first.start == second.start) == (starts[0] == starts[1])
