"""Tokens of a text that arrives in pieces: which of them are settled, and which may still change.

A token is settled when no further text can change it. Qwen's tokenizer brings text into NFC, splits it from left to
right, and merges bytes within each split. So a split is settled once another one stands behind it, with two exceptions:
white space at the text's end may yet join with white space before it, and a combining character may join with what
precedes it. The settled tokens of any pieces are the first tokens of the whole text's: the splits behind a place that
is settled are found without what stands before it. Knows nothing of models.
"""

import json
import unicodedata
from collections.abc import Mapping
from functools import cache
from itertools import takewhile
from typing import Any, Final

from tokenizers import Encoding, Tokenizer

from workers.serving.engine.prompt_pieces import has_proven_seams

_FIRST_COMBINING: Final = 0x300
_PLANES_WITH_COMPOSITIONS: Final = 0x20000
# Hangul vowels and final consonants: Unicode composes them by rule and lists none of them.
_HANGUL_PARTS: Final = frozenset(map(chr, (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))))
# White space in some versions of Unicode, or to some libraries.
_ALMOST_SPACE: Final = frozenset("\u180e\u200b\ufeff")


class TurnTokenizer:
    """One tokenizer without its added tokens, so that `<|im_end|>` in a text is text.

    `specification` is the tokenizer as JSON. Of a tokenizer that splits in another way than Qwen's, nothing is settled
    before a text's end.
    """

    def __init__(self, specification: Mapping[str, Any]) -> None:
        # A post-processor may cut white space off the tokens' places.
        plain = {**specification, "added_tokens": [], "post_processor": None}
        self._tokenizer = Tokenizer.from_str(json.dumps(plain))
        self._settles = has_proven_seams(specification)
        self.longest: Final = max((len(token) for token in self._tokenizer.get_vocab()), default=1)

    def encoded(self, text: str) -> Encoding:
        """The tokens of a text: `ids`, `offsets` (characters) and `word_ids` (splits)."""
        return self._tokenizer.encode(text, add_special_tokens=False)

    def settled_tokens(self, text: str, encoding: Encoding) -> int:
        """How many of the text's first tokens no further text can change."""
        if not self._settles:
            return 0
        spaces = sum(1 for _ in takewhile(_may_be_space, reversed(text)))
        words, offsets = encoding.word_ids, encoding.offsets
        for token in range(len(words) - 1, 0, -1):
            start = offsets[token][0]
            # NFC makes two characters of some, which are split from each other.
            between = words[token] != words[token - 1] and start >= offsets[token - 1][1]
            if between and start <= len(text) - spaces and starts_anew(text[start]):
                return token
        return 0


class TurnText:
    """The text of one turn so far, as `ids` and `ends` (characters up to each token's end); `settled` are final.

    `room` is how many tokens the model's context has for the turn. Where a split reaches beyond it, neither that split
    nor anything behind it is ever settled, and `overflows` says so.
    """

    def __init__(self, tokenizer: TurnTokenizer, room: int) -> None:
        self._tokenizer = tokenizer
        self.room: Final = room
        self._open = ""
        self._before = 0
        self.ids: list[int] = []
        self.ends: list[int] = []
        self.settled = 0
        self.overflows = False
        self.is_final = False

    def add(self, text: str, *, final: bool) -> int:
        """Take in what comes next; returns the index of the first token that is not what it was."""
        pending = self._open + text
        if text or final:
            encoding = self._tokenizer.encoded(pending)
            found = encoding.ids
            known = self.ids[self.settled :]
            same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(known, found, strict=False)))
            first_changed = self.settled + same
            self.ids[self.settled :] = found
            self.ends[self.settled :] = [self._before + end for end in _ends(encoding, len(pending))]
            self._settle(pending, encoding, len(found) if final else self._tokenizer.settled_tokens(pending, encoding))
            self.is_final = final
            return first_changed
        return len(self.ids)

    def _settle(self, pending: str, encoding: Encoding, count: int) -> None:
        limit = self.room - self.settled
        words = encoding.word_ids
        if count > limit:
            self.overflows = True
            count = next((token for token in range(limit, 0, -1) if words[token] != words[token - 1]), 0)
        elif len(pending) > limit * self._tokenizer.longest and _nfc_bytes(pending) > limit * self._tokenizer.longest:
            self.overflows = True  # whatever follows: no token is longer
        start = len(pending) if count == len(words) else encoding.offsets[count][0]
        self._open = pending[start:]
        self._before += start
        self.settled += count
        if self.overflows:  # nothing more will come, and nobody asks for what is beyond
            self._open = ""
            del self.ids[self.room :], self.ends[self.room :]


def _ends(encoding: Encoding, length: int) -> list[int]:
    """Where each token ends: where the next one starts that does not start at the same character.

    Of a letter and the accent that NFC joined with it, offsets have the letter's place only.
    """
    ends: list[int] = []
    start = end = length
    for first, _ in reversed(encoding.offsets):
        if first < start:
            start, end = first, start
        ends.append(end)
    return ends[::-1]


def starts_anew(character: str) -> bool:
    """Whether NFC never joins a character, or moves it, with what stands before it."""
    if ord(character) < _FIRST_COMBINING:
        return True
    first = unicodedata.normalize("NFD", character)[0]
    # Characters of a newer Unicode than this one may do anything.
    known = unicodedata.category(first) != "Cn"
    return known and not unicodedata.combining(first) and first not in _joining()


@cache
def _joining() -> frozenset[str]:
    """The characters that are the second of a canonical composition."""
    pairs = (unicodedata.decomposition(chr(code)).split() for code in range(_PLANES_WITH_COMPOSITIONS))
    return _HANGUL_PARTS | {chr(int(pair[1], 16)) for pair in pairs if len(pair) == 2 and pair[0][0] != "<"}


def _may_be_space(character: str) -> bool:
    return character.isspace() or character in _ALMOST_SPACE or unicodedata.category(character)[0] == "Z"


def _nfc_bytes(text: str) -> int:
    return len(unicodedata.normalize("NFC", text).encode())
