"""What happens to a conversation that is too long for the model: refuse it, cut it, or judge it in windows.

The last message is judged; earlier turns are context, and the oldest go first. What is cut out of a middle is not
judged, and the verdict says so; windows cover all of the last message. Cuts keep a base character with its marks and
an emoji with its parts. Units are those of `pipelines.fitting.length`.
Does not tokenise and does not render.
"""

import unicodedata
from collections.abc import Iterator
from typing import Literal

from pipelines.fitting.length import (
    ESTIMATE_VERSION,
    MIN_CHARACTER_UNITS,
    TURN_UNITS,
    UNITS_PER_TOKEN,
    Fitted,
    conversation_units,
    text_units,
    tokens_of,
    whole,
)
from pipelines.guard import Conversation
from schemas.errors import ConfigurationError, EventError
from schemas.event import Message
from schemas.reasons import Reason
from schemas.verdict import LengthHandling

Mode = Literal["dead_letter", "truncate_middle", "window"]

MIN_TOKENS = 64
MAX_TOKENS = 4_096  # the default
CONTEXT_SHARE = 4
_ZERO_WIDTH_JOINER = "\u200d"
_JOINED = frozenset((_ZERO_WIDTH_JOINER, *map(chr, range(0x1F3FB, 0x1F400))))  # and skin tones
_MAX_STEPS = 6


class LengthPolicy:
    """The rule for long conversations. Immutable.

    Args:
        mode: `dead_letter` refuses; `truncate_middle` cuts; `window` judges overlapping windows of the last message.
        max_tokens: most estimated tokens of one conversation, at least 64.
        overlap_tokens: how much of its predecessor a window repeats, at most half of `max_tokens`.
        max_windows: most windows of one message; a longer one is refused.

    Attributes:
        signature: all that decides what is judged in place of a conversation; part of a verdict's id.
        limit: most units that are judged whole.

    Raises:
        ConfigurationError: naming the parameter and its value.
    """

    def __init__(self, mode: Mode, max_tokens: int, overlap_tokens: int = 0, max_windows: int = 16) -> None:
        if max_tokens < MIN_TOKENS:
            raise ConfigurationError(f"max_tokens: {max_tokens}, at least {MIN_TOKENS} are needed")
        if not 0 <= overlap_tokens * 2 <= max_tokens:
            raise ConfigurationError(
                f"overlap_tokens: {overlap_tokens}, must be from 0 to half of max_tokens ({max_tokens})"
            )
        if max_windows < 1:
            raise ConfigurationError(f"max_windows: {max_windows}, at least 1 is needed")
        self.mode = mode
        self.max_tokens = max_tokens
        self.overlap_tokens = overlap_tokens
        self.max_windows = max_windows
        self.limit = max_tokens * UNITS_PER_TOKEN
        self.signature = f"{mode}:{max_tokens}:{overlap_tokens}:{max_windows}:{ESTIMATE_VERSION}"

    def shorten(self, conversation: Conversation, units: int) -> Fitted:
        """See `pipelines.fitting.length.LengthRule`.

        Raises:
            EventError: `too_long`, naming the estimate and the limit.
        """
        if self.mode == "dead_letter":
            raise self._too_long(units, "")
        context, room = context_of(conversation, self.limit, cuts_middle=self.mode == "truncate_middle")
        last = conversation[-1]
        text = last["content"]
        if self.mode == "truncate_middle":
            handling: LengthHandling = "truncated_middle"
            pieces = [cut_middle(text, room)]
            if not pieces[0].strip():
                raise self._too_long(units, ", and its two ends are blank")
            kept = len(pieces[0])
        else:
            handling = "windowed"
            pieces = []
            for window in slide(text, room, self.overlap_tokens * UNITS_PER_TOKEN):
                if len(pieces) == self.max_windows:
                    raise self._too_long(units, f" in each of {self.max_windows} windows")
                pieces.append(window)
            kept = len(text)
        dropped = _characters(conversation) - _characters(context) - kept
        fitted = tuple((*context, with_text(last, piece)) for piece in pieces)
        return Fitted(fitted, handling, dropped, tuple(tokens_of(conversation_units(turns)) for turns in fitted))

    def _too_long(self, units: int, why: str) -> EventError:
        return EventError(
            Reason.TOO_LONG, f"messages: about {tokens_of(units)} tokens, the limit is {self.max_tokens}{why}"
        )


class JudgedWhole:
    """No rule: every conversation is judged as it is, as published figures are made."""

    signature = "whole"
    limit = float("inf")

    def shorten(self, conversation: Conversation, units: int) -> Fitted:
        """Never asked; the guard may refuse."""
        return whole(conversation, units)


def _characters(conversation: Conversation) -> int:
    return sum(len(turn["content"]) for turn in conversation)


def context_of(conversation: Conversation, limit: int, *, cuts_middle: bool) -> tuple[Conversation, int]:
    """The context to keep, and the units that it leaves for the text of the last message.

    Args:
        conversation: all turns.
        limit: most units of what is judged at a time.
        cuts_middle: the last message is cut where it has to be, and not judged in windows.
    """
    *earlier, last = conversation
    budget = limit - conversation_units((last,))
    if budget < 0:
        # Truncation keeps as much judged text as it can; windows can afford some context in each.
        budget = 0 if cuts_middle else limit // CONTEXT_SHARE
    context = _newest(tuple(earlier), budget)
    if last["role"] == "assistant" and not any(turn["role"] == "user" for turn in context):
        context = _question(tuple(earlier), max(budget, limit // CONTEXT_SHARE))
    return context, limit - conversation_units(context) - TURN_UNITS


def with_text(turn: Message, text: str) -> Message:
    """The turn, with another text."""
    return {"role": turn["role"], "content": text}


def _question(earlier: Conversation, budget: int) -> Conversation:
    """What an answer cannot be judged without: the newest user turn, cut where it has to be."""
    asked = [turn for turn in earlier if turn["role"] == "user"] or list(earlier[:1])
    return tuple(with_text(turn, cut_middle(turn["content"], budget - TURN_UNITS)) for turn in asked[-1:])


def _newest(earlier: Conversation, budget: int) -> Conversation:
    """A leading system turn if it fits, and the most of the newest turns that starts with a user's."""
    system = (
        earlier[:1] if earlier and earlier[0]["role"] == "system" and conversation_units(earlier[:1]) <= budget else ()
    )
    budget -= conversation_units(system)
    start = len(earlier)
    for index in range(len(earlier) - 1, -1, -1):
        budget -= conversation_units(earlier[index : index + 1])
        if budget < 0 or earlier[index]["role"] == "system":
            break
        if earlier[index]["role"] == "user":
            start = index
    return system + earlier[start:]


def cut_middle(text: str, units: int) -> str:
    """The text, or as much of its start and its end as `units` allow, in equal shares."""
    if text_units(text) <= units:
        return text
    head = _boundary(text, reach(text, units // 2), -1)
    tail = _boundary(text, len(text) - reach(text, units - text_units(text[:head]), from_end=True), 1)
    return text[:head] + text[tail:]


def slide(text: str, room: int, overlap: int) -> Iterator[str]:
    """Windows of a text, each of `room` units at most, which repeat `overlap` units of the one before."""
    start = 0
    while True:
        # Cut to what the room can hold at all, so that the cost is the text's length and not its square.
        end = start + reach(text[start : start + room], room)
        if end >= len(text):
            yield text[start:]
            return
        end = _boundary(text, end, -1)
        yield text[start:end]
        start = max(start + 1, _boundary(text, end - reach(text[start:end], overlap, from_end=True), -1))


def _boundary(text: str, cut: int, step: int) -> int:
    """A cut moved by a few characters at most, so that a base character keeps its marks and an emoji its parts."""
    for moved in range(cut, cut + step * _MAX_STEPS, step):
        if moved in (0, len(text)):
            return moved
        after = text[moved]
        if not (unicodedata.category(after)[0] == "M" or after in _JOINED or text[moved - 1] == _ZERO_WIDTH_JOINER):
            return moved
    return cut


def reach(text: str, units: int, *, from_end: bool = False) -> int:
    """How many characters from the start (or the end) of a text cost at most `units`."""
    low, high, spent = 0, min(len(text), max(units, 0) // MIN_CHARACTER_UNITS), 0
    while low < high:
        middle = (low + high + 1) // 2
        part = text[len(text) - middle : len(text) - low] if from_end else text[low:middle]
        cost = text_units(part)
        if spent + cost <= units:
            low, spent = middle, spent + cost
        else:
            high = middle - 1
    return low
