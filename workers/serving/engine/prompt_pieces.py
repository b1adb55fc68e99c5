"""Cuts a prompt's text where its tokenizer always cuts it, so that the template's own text is tokenised only once.

A seam is a place between two characters of the template over which no token reaches, whatever a message says. It is
proven for Qwen's way to split text, a regular expression that is applied from left to right and looks ahead but never
back; then each split is tokenised by itself:

- before a space that follows no white space: no split contains a space behind another character;
- before a character that is not white space and follows a line end: a split that contains a line end ends with one, and
  white space that ends with a line end is one split, whatever follows.

Both hold after NFC, because an ASCII character is never composed with what precedes it. Knows nothing of templates,
control tokens or messages.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from workers.serving.engine.completion import SharedStart

TokenIds = npt.NDArray[np.int64]

_QWEN_SPLIT: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def has_proven_seams(specification: Mapping[str, Any]) -> bool:
    """Whether a tokenizer, given as its JSON, splits text in the way that seams are proven for."""
    before, model = specification.get("pre_tokenizer") or {}, specification.get("model") or {}
    split, by_bytes, *more = [*before.get("pretokenizers", ()), None, None][:3]
    return (
        (specification.get("normalizer") or {"type": "NFC"}) == {"type": "NFC"}
        and before.get("type") == "Sequence"
        and not any(more)
        and split is not None
        and (split.get("type"), split.get("behavior"), split.get("invert")) == ("Split", "Isolated", False)
        and split.get("pattern") == {"Regex": _QWEN_SPLIT}
        and by_bytes is not None
        and (by_bytes.get("type"), by_bytes.get("use_regex"), by_bytes.get("add_prefix_space"))
        == ("ByteLevel", False, False)
        and (model.get("type"), model.get("dropout")) == ("BPE", None)
    )


@dataclass(frozen=True, slots=True)
class ContentSlot:
    """Where the template shows the content of message `index`, and on which sides it trims white space."""

    index: int
    trims_left: bool
    trims_right: bool

    def shown(self, contents: Sequence[str]) -> str:
        """What the template shows of the message's content."""
        content = contents[self.index]
        if self.trims_left:
            content = content.lstrip()
        return content.rstrip() if self.trims_right else content


@dataclass(frozen=True, slots=True)
class PromptPieces:
    """A prompt of one sequence of roles: fixed tokens, and the texts between them that messages decide.

    There is one more of `fixed`, each of shape (tokens,), than of `texts`, each of which is literals and slots in
    order. `start` is the first of `fixed`.
    """

    fixed: tuple[TokenIds, ...]
    texts: tuple[tuple[str | ContentSlot, ...], ...]
    start: SharedStart

    def filled(self, contents: Sequence[str]) -> list[str]:
        """The texts of a conversation with these contents."""
        return [
            "".join([part if isinstance(part, str) else part.shown(contents) for part in parts]) for parts in self.texts
        ]

    def joined(self, encoded: Sequence[Sequence[int]]) -> TokenIds:
        """All tokens, read-only, of shape (tokens,), given those of each filled text."""
        pieces = [self.fixed[0]]
        for ids, after in zip(encoded, self.fixed[1:], strict=True):
            pieces += (np.array(ids, dtype=np.int64), after)
        token_ids = np.concatenate(pieces)
        token_ids.setflags(write=False)
        return token_ids


def pieces_of(
    spans: Sequence[int | Sequence[str | ContentSlot]], encode: Callable[[str], list[int]], *, at_seams: bool
) -> PromptPieces:
    """Cut a prompt of control tokens, given as ids, and spans of text between them.

    `encode` tokenises a text without control tokens. Without `at_seams` a span that shows a content is one piece.
    """
    fixed: list[list[int]] = [[]]
    texts: list[tuple[str | ContentSlot, ...]] = []
    for span in spans:
        if isinstance(span, int):
            fixed[-1].append(span)
            continue
        for piece in _cut(span) if at_seams else _uncut(span):
            if isinstance(piece, str):
                fixed[-1] += encode(piece)
            else:
                texts.append(piece)
                fixed.append([])
    read_only = tuple(_read_only(ids) for ids in fixed)
    return PromptPieces(read_only, tuple(texts), SharedStart(len(fixed[0]), sha256(read_only[0].tobytes()).digest()))


def _uncut(span: Sequence[str | ContentSlot]) -> list[str | tuple[str | ContentSlot, ...]]:
    literals = [part for part in span if isinstance(part, str)]
    return ["".join(literals)] if len(literals) == len(span) else [tuple(span)]


def _cut(span: Sequence[str | ContentSlot]) -> list[str | tuple[str | ContentSlot, ...]]:
    """Literals that are tokenised by themselves, and what stands between them."""
    pieces: list[str | tuple[str | ContentSlot, ...]] = []
    open_parts: list[str | ContentSlot] = []
    for index, part in enumerate(span):
        if isinstance(part, ContentSlot):
            open_parts.append(part)
            continue
        seams = _seams(part)
        start = 0 if index == 0 else next(iter(seams), len(part))
        end = len(part) if index == len(span) - 1 else next(reversed(seams), 0)
        if start >= end:
            open_parts.append(part)
            continue
        if part[:start]:
            open_parts.append(part[:start])
        if open_parts:
            pieces.append(tuple(open_parts))
        pieces.append(part[start:end])
        open_parts = [part[end:]] if part[end:] else []
    if open_parts:
        pieces.append(tuple(open_parts))
    return pieces


def _seams(literal: str) -> list[int]:
    return [
        place
        for place, (before, after) in enumerate(pairwise(literal), start=1)
        if (after == " " and not before.isspace()) or (before in "\r\n" and after.isascii() and not after.isspace())
    ]


def _read_only(ids: Sequence[int]) -> TokenIds:
    array = np.array(ids, dtype=np.int64)
    array.setflags(write=False)
    return array
