"""Tokenises texts word by word, with a memory for words: most of a chat's come again.

A word here goes up to the next space that follows no white space. That is a seam, as `workers.serving.engine.
prompt_pieces` proves for Qwen's way to split text: no token reaches over it. So a text's tokens are those of its words,
one after the other, and only words that are new have to be tokenised.

Knows nothing of prompts.
"""

import re
from collections.abc import Sequence
from itertools import chain
from typing import Final

from tokenizers import Tokenizer

_SEAM: Final = re.compile(r"(?<=\S)(?= )")  # `\S` is what `str.isspace` denies, as in `prompt_pieces`
# Some 10 MB at most (P9); when it is full, it begins anew.
_MOST_WORDS: Final = 32_768
_LONGEST_WORD: Final = 24


class WordMemory:
    """Tokenises with a tokenizer that has proven seams. Safe to use from many threads at once.

    Args:
        most: words to remember.
    """

    def __init__(self, most: int = _MOST_WORDS) -> None:
        self._most = most
        self._known: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def encode(self, texts: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
        """Ids of the tokens of each text, none of them added ones."""
        if len(self._known) >= self._most:
            self._known = {}  # another one, so that whoever is in the middle of it keeps what it has found
        known = self._known
        words = [_SEAM.split(text) for text in texts]
        once: dict[str, list[int]] = {}
        if new := list({word for of_text in words for word in of_text if word not in known}):
            for word, encoding in zip(new, tokenizer.encode_batch_fast(new, add_special_tokens=False), strict=True):
                is_kept = len(word) <= _LONGEST_WORD and len(known) < self._most
                (known if is_kept else once)[word] = encoding.ids
        if once:
            known = {word: once[word] if word in once else known[word] for of_text in words for word in of_text}
        return [list(chain.from_iterable(map(known.__getitem__, of_text))) for of_text in words]
