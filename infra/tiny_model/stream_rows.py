"""Synthetic conversations with a label at every token, for the tiny Stream model: the same chat as the tiny model's.

The rule for each turn: Safe up to the last token of its first class word, from there on what that word stands for. The
user's turn has one label, at its closing token. Does not know how the model is trained.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from workers.demo.corpus import Example, class_words
from workers.serving.engine.streaming.opening import Opener

RISKS = ("Safe", "Unsafe", "Controversial")
CATEGORIES = (
    "Violent", "Sexual Content or Sexual Acts", "Suicide & Self-Harm", "Politically Sensitive Topics", "PII",
    "Copyright Violation", "Non-violent Illegal Acts", "Unethical Acts", "Jailbreak",
)  # fmt: skip
"""In the order of Qwen3Guard-Stream; answers have all but the last."""

Label = tuple[str, str | None]
"""Risk, and category where the risk is not Safe."""

_SAFE: Label = ("Safe", None)
_CLASSES = {
    word: (risk, category)
    for word, name in class_words()
    for risk, _, category in [name.partition(" ")]
    if risk in RISKS and category in CATEGORIES
}
_WORD = re.compile("|".join(map(re.escape, sorted(_CLASSES, key=len, reverse=True))))


@dataclass(frozen=True)
class Row:
    """One conversation: its turns, all ids, the user's label and position, the answer's labels and first position."""

    turns: tuple[dict[str, str], ...]
    ids: list[int]
    user_at: int
    user_label: Label
    answer_at: int
    labels: list[Label]
    example: Example


def rows(opener: Opener, source: Iterable[Example]) -> Iterator[Row]:
    """Yield the rows of examples, in order."""
    for example in source:
        opening = opener.open(example.conversation)
        answer = opener.text.encoded(opening.begun)
        asked = [turn["content"] for turn in example.conversation if turn["role"] == "user"][-1]
        label, end = label_of(opening.begun)
        yield Row(
            turns=example.conversation,
            ids=[*opening.ids, *answer.ids],
            user_at=opening.user_at,
            user_label=label_of(asked)[0],
            answer_at=len(opening.ids),
            labels=[label if token_end >= end else _SAFE for _, token_end in answer.offsets],
            example=example,
        )


def label_of(text: str) -> tuple[Label, int]:
    """What a turn's first class word stands for, and where in the text it ends; Safe from the start without one."""
    found = _WORD.search(text)
    return (_CLASSES[found[0]], found.end()) if found else (_SAFE, 0)
