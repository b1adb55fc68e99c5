"""Texts tokenised word by word have the tokens of the whole, whatever is remembered; what is remembered is bounded."""

import random

import pytest

from tests.workers.serving.engine.test_prompt_pieces import EDGES
from workers.serving.engine.prompt import PromptBuilder
from workers.serving.engine.word_memory import WordMemory


def _texts(count: int) -> list[str]:
    chooser = random.Random(29)
    pieces = [*EDGES, *(" " + edge for edge in EDGES), *[" ", " the"] * 8]
    return ["".join(chooser.choices(pieces, k=chooser.randint(0, 9))) for _ in range(count)]


@pytest.mark.parametrize("most", [1, 60, 100_000])
def test_p13_the_tokens_are_those_of_the_whole(builder: PromptBuilder, most: int) -> None:
    plain = builder._plain  # noqa: SLF001 - the tokenizer without added tokens
    memory, texts = WordMemory(most), _texts(3_000)
    for start in range(0, len(texts), 50):
        some = texts[start : start + 50]
        whole = [encoding.ids for encoding in plain.encode_batch_fast(some, add_special_tokens=False)]
        assert memory.encode(some, plain) == whole
        assert memory.encode(some, plain) == whole  # and from memory, as far as it goes
        assert len(memory) <= most


def test_p9_long_words_are_not_remembered(builder: PromptBuilder) -> None:
    memory = WordMemory()
    memory.encode(["short " + "long" * 500 + " short"], builder._plain)  # noqa: SLF001
    assert len(memory) == 2


def test_only_new_words_are_tokenised(builder: PromptBuilder) -> None:
    plain, given = builder._plain, []  # noqa: SLF001

    class Watched:
        def encode_batch_fast(self, texts: list[str], **how: bool) -> object:
            given.append(sorted(texts))
            return plain.encode_batch_fast(texts, **how)

    memory, watched = WordMemory(), Watched()
    memory.encode([" who is it\n\n", " who was it"], watched)  # type: ignore[arg-type]
    memory.encode([" who is it\n\n"], watched)  # type: ignore[arg-type]
    memory.encode([" is it he"], watched)  # type: ignore[arg-type]
    assert given == [[" is", " it", " it\n\n", " was", " who"], [" he"]]
