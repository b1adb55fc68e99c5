"""Where positions among a whole conversation's ids lie in its answer, as published data sets give them.

Those count the ids of the chat template over the finished conversation. There an answer's thinking stands between two
control tokens; in a stream it is text like the rest, so positions are carried over by characters.
"""

from typing import Final, NamedTuple

from workers.serving.engine.streaming.turn_text import TurnTokenizer

_STARTS: Final = "<think>"
_ENDS: Final = "</think>"


class _Part(NamedTuple):
    """Text between control tokens: the ids' first position, and by id the characters of the answer that it ends at."""

    first: int
    ends: list[int]


def characters_of(
    tokenizer: TurnTokenizer, answer: str, thinking_at: int, first: int, last: int
) -> tuple[int, int] | None:
    """The characters of `answer`, from and up to, of the ids at positions `first` to `last`; None if they are not its.

    `thinking_at` is the position of the control token that opens the answer's thinking, which may be empty.
    """
    before, ends, behind = answer.rpartition(_ENDS)
    thinking = before.split(_ENDS)[0].rstrip("\n").split(_STARTS)[-1].strip("\n") if ends else ""
    said = behind.lstrip("\n")
    thought = _part(tokenizer, thinking_at + 1, "\n", thinking, "\n", answer.find(thinking))
    spoken = _part(tokenizer, thought.first + len(thought.ends) + 1, "\n\n", said, "", len(answer) - len(said))
    places = [_characters(thought, spoken, position) for position in (first, last)]
    if places[0] is None or places[1] is None or first > last:
        return None
    return places[0][0], places[1][1]


def _part(tokenizer: TurnTokenizer, first: int, before: str, text: str, behind: str, start: int) -> _Part:
    encoding = tokenizer.encoded(before + text + behind)
    shift = start - len(before)
    return _Part(first, [max(start, min(start + len(text), shift + end)) for _, end in encoding.offsets])


def _characters(thought: _Part, spoken: _Part, position: int) -> tuple[int, int] | None:
    for part in (thought, spoken):
        index = position - part.first
        if 0 <= index < len(part.ends):
            end = part.ends[index]
            return (part.ends[index - 1] if index else end), end
    return None
