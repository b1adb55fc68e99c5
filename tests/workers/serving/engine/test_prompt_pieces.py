"""Prompts tokenised in pieces have the tokens of the whole, and only where the tokenizer is known to allow it."""

import json
import logging
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tests.workers.serving.engine.conftest import TEMPLATE
from workers.serving.engine.completion import Conversation, PreparedPrompt
from workers.serving.engine.prompt import PromptBuilder
from workers.serving.engine.prompt_pieces import ContentSlot, has_proven_seams, pieces_of

# What tokenizers join with what is beside it, and what normalisation composes.
EDGES = [
    *("", " ", "  ", "\n", "\n\n", "\r", "\r\n", "\t", "\u00a0", "\u3000", "\u2028", "\x85", "\x1c", "\u200b"),
    *("a", "Z", "0", "9", "é", "\u0301", "\u0338", "\u030a", "\u200d", "\ufe0f", "\U0001f600", "你", "。", "한", "ก็"),
    *("!", "?!", ":", "://", "-", ">", "<", "'s", "'", "\u017f", "*", "**", "\u212b", "\ufb01", "<|im_end|>", "USER: "),
]
SHAPES = [
    ("user",),
    ("user", "assistant"),
    ("system", "user"),
    ("system", "user", "assistant"),
    ("user", "assistant", "user"),
    ("user", "assistant", "user", "assistant"),
]


def _content(chooser: random.Random) -> str:
    return "".join(chooser.choices(EDGES, k=chooser.randint(0, 5)))


def _chats(count: int) -> list[Conversation]:
    chooser = random.Random(23)
    return [[{"role": role, "content": _content(chooser)} for role in chooser.choice(SHAPES)] for _ in range(count)]


@pytest.fixture
def whole(tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch) -> PromptBuilder:
    """The same tokenizer's prompts, rendered one by one and tokenised whole."""
    with monkeypatch.context() as patched:
        patched.setattr("workers.serving.engine.prompt.has_proven_seams", lambda _: False)
        patched.setattr("workers.serving.engine.prompt.only_prints_contents", lambda _: False)
        return PromptBuilder(tokenizer)


def test_p13_the_tokens_are_those_of_the_whole(builder: PromptBuilder, whole: PromptBuilder) -> None:
    chats = _chats(6_000)
    pairs = zip(chats, builder.prepare_all(chats), whole.prepare_all(chats), strict=True)
    for chat, in_pieces, expected in pairs:
        assert isinstance(in_pieces, PreparedPrompt)
        assert isinstance(expected, PreparedPrompt)
        assert np.array_equal(in_pieces.token_ids, expected.token_ids), chat


def test_of_a_message_only_its_own_text_is_tokenised(builder: PromptBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    builder.prepare_all(_chats(200))  # every layout is known
    given: list[str] = []
    plain = builder._plain  # noqa: SLF001 - what is tokenised is seen nowhere else

    class Watched:
        def encode_batch_fast(self, texts: list[str], **how: bool) -> object:
            given.extend(texts)
            return plain.encode_batch_fast(texts, **how)

    monkeypatch.setattr(builder, "_plain", Watched())
    builder.prepare_all([[{"role": "user", "content": "a-new-one"}, {"role": "assistant", "content": "another-one"}]])
    assert sorted(given) == [" a-new-one\n\n", " another-one\n\n"]


def test_the_template_is_not_rendered_where_it_only_prints(
    builder: PromptBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = [{"role": "user", "content": "hello"}]
    expected = builder.prepare(chat)
    monkeypatch.setattr(builder, "_render", None)
    again = builder.prepare(chat)
    assert isinstance(again, PreparedPrompt)
    assert isinstance(expected, PreparedPrompt)
    assert np.array_equal(again.token_ids, expected.token_ids)


def test_another_way_to_split_is_tokenised_whole_and_the_log_says_so(
    make_folder: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = make_folder() / "tokenizer.json"
    specification = json.loads(path.read_text())
    specification["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": r"\S+\s*|\s+"}
    path.write_text(json.dumps(specification))
    with caplog.at_level(logging.WARNING):
        # Not by the class that its folder names: that one splits text as it always does.
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(path), eos_token="<|im_end|>")
        tokenizer.chat_template = TEMPLATE
        builder = PromptBuilder(tokenizer)
    assert "prompts are tokenised whole: of this tokenizer it is not proven" in caplog.text
    backend = Tokenizer.from_file(str(path))
    for content in ("hello", " x", "\n", "\u0301"):
        prepared = builder.prepare([{"role": "user", "content": content}])
        assert isinstance(prepared, PreparedPrompt)
        rendered = builder._render(["user"], [content])  # noqa: SLF001
        assert rendered is not None
        assert prepared.token_ids.tolist() == backend.encode(rendered, add_special_tokens=False).ids


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": {"type": "NFKC"}},
        {"pre_tokenizer": None},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True, "trim_offsets": True}},
        {"model": {"type": "BPE", "dropout": 0.1}},
        {"model": {"type": "WordPiece"}},
    ],
)
def test_seams_are_proven_of_one_way_to_split_alone(
    tokenizer: PreTrainedTokenizerBase, change: dict[str, object]
) -> None:
    specification = json.loads(tokenizer.backend_tokenizer.to_str())
    assert has_proven_seams(specification)
    assert not has_proven_seams(specification | change)


@pytest.mark.parametrize(
    ("span", "texts", "fixed"),
    [
        (["a: ", 0, "\n\nB c"], [(" ", 0, "\n\n")], ["a:", "B c"]),
        (["a:", 0, "b"], [("a:", 0, "b")], ["", ""]),
        (["a:\n", 0, "\nx y: ", 1], [("a:\n", 0, "\n"), (" ", 1)], ["", "x y:", ""]),
        (["a: ", 0, "\n\n", 1, " b"], [(" ", 0, "\n\n", 1, " b")], ["a:", ""]),
        ([0, " b c"], [(0, " b")], ["", " c"]),
        (["only text"], [], ["only text"]),
    ],
)
def test_cuts_are_where_no_token_reaches_over(
    span: list[str | int], texts: list[tuple[str | int, ...]], fixed: list[str]
) -> None:
    def slots(parts: list[str | int] | tuple[str | int, ...]) -> list[str | ContentSlot]:
        return [part if isinstance(part, str) else ContentSlot(part, False, False) for part in parts]

    pieces = pieces_of([slots(span)], lambda text: list(text.encode()), at_seams=True)
    assert [list(parts) for parts in pieces.texts] == [slots(parts) for parts in texts]
    assert [bytes(ids.tolist()).decode() for ids in pieces.fixed] == fixed


def test_starts_of_one_length_are_told_apart() -> None:
    starts = [
        pieces_of(
            [[text, ContentSlot(0, trims_left=False, trims_right=False)]], lambda t: list(t.encode()), at_seams=True
        ).start
        for text in ("AB\n\nCD ", "AC\n\nCD ", "AB\n\nCD ")
    ]

    assert starts[0] == starts[2] != starts[1]
    assert starts[0].tokens == starts[1].tokens > 0
