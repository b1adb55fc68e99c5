"""What is done with a conversation that is too long for the model: refuse it, cut it, or judge it in windows.

The last message is what is judged; earlier turns are context, and the oldest are dropped first. Counts are estimates of
the conversation's own text and turns; the template's fixed tokens come on top. A middle that was cut out is not judged,
which the verdict says; windows leave nothing of the last message unjudged.
Does not tokenise and does not render.
"""

import unicodedata
from collections.abc import Iterator
from typing import Literal, NamedTuple

from pipelines.guard import Conversation
from pipelines.token_estimate import ESTIMATE_VERSION, UNITS_PER_TOKEN, reach, text_units, tokens_of
from schemas.errors import ConfigurationError, EventError
from schemas.event import Message
from schemas.reasons import Reason
from schemas.verdict import Handling

Mode = Literal["dead_letter", "truncate_middle", "window"]

MIN_TOKENS = 64
_TURN_UNITS = 5 * UNITS_PER_TOKEN  # "\n\nASSISTANT: " and what its borders cost
_CONTEXT_SHARE = 4
_ZERO_WIDTH_JOINER = "\u200d"
_JOINED = frozenset((_ZERO_WIDTH_JOINER, *map(chr, range(0x1F3FB, 0x1F400))))  # and skin tones
_MAX_STEPS = 6


class Fitted(NamedTuple):
    """What is to be judged in place of one conversation.

    `handling` is "whole" where nothing was done, else the mode's, also where only context had to go.
    `characters_dropped` are those of the conversation that are in none of `conversations`; `tokens` are estimates,
    one for each of these.
    """

    conversations: tuple[Conversation, ...]
    handling: Handling
    characters_dropped: int
    tokens: tuple[int, ...]


def estimate_tokens(text: str) -> int:
    """Estimated tokens of one text; `pipelines.token_estimate` says how well."""
    return tokens_of(text_units(text))


class LengthPolicy:
    """The rule for long conversations. Immutable.

    Args:
        mode: `dead_letter` refuses; `truncate_middle` cuts; `window` judges overlapping windows of the last message.
        max_tokens: most estimated tokens of one conversation, at least 64.
        overlap_tokens: how much of its predecessor a window repeats, at most half of `max_tokens`.
        max_windows: most windows of one message; a longer one is refused.

    Attributes:
        signature: all that decides what is judged in place of a conversation; part of a verdict's id.

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
        self._limit = max_tokens * UNITS_PER_TOKEN
        self.signature = f"{mode}:{max_tokens}:{overlap_tokens}:{max_windows}:{ESTIMATE_VERSION}"

    def fit(self, conversation: Conversation) -> Fitted:
        """Fit one conversation, whose roles are those that `schemas.event_codec` lets through.

        Raises:
            EventError: `too_long`, naming the estimate and the limit.
        """
        units = _units(conversation)
        if units <= self._limit:
            return Fitted((conversation,), "whole", 0, (tokens_of(units),))
        if self.mode == "dead_letter":
            raise self._too_long(units, "")
        *earlier, last = conversation
        context, room = self._context(tuple(earlier), last)
        text = last["content"]
        if self.mode == "truncate_middle":
            handling: Handling = "truncated_middle"
            pieces = [_cut_middle(text, room)]
            if not pieces[0].strip():
                raise self._too_long(units, ", and its two ends are blank")
            kept = len(pieces[0])
        else:
            handling = "windowed"
            pieces = self._windows(text, room, units)
            kept = len(text)
        dropped = _characters(conversation) - _characters(context) - kept
        fitted = tuple((*context, _with_text(last, piece)) for piece in pieces)
        return Fitted(fitted, handling, dropped, tuple(tokens_of(_units(turns)) for turns in fitted))

    def _too_long(self, units: int, why: str) -> EventError:
        return EventError(
            Reason.TOO_LONG, f"messages: about {tokens_of(units)} tokens, the limit is {self.max_tokens}{why}"
        )

    def _context(self, earlier: Conversation, last: Message) -> tuple[Conversation, int]:
        """The context to keep, and the units that it leaves for the text of the last message."""
        budget = self._limit - _units((last,))
        if budget < 0:
            # Truncation keeps as much judged text as it can; windows can afford some context in each.
            budget = 0 if self.mode == "truncate_middle" else self._limit // _CONTEXT_SHARE
        context = _newest(earlier, budget)
        if last["role"] == "assistant" and not any(turn["role"] == "user" for turn in context):
            context = self._question(earlier, max(budget, self._limit // _CONTEXT_SHARE))
        return context, self._limit - _units(context) - _TURN_UNITS

    @staticmethod
    def _question(earlier: Conversation, budget: int) -> Conversation:
        """What an answer cannot be judged without: the newest user turn, cut where it has to be."""
        asked = [turn for turn in earlier if turn["role"] == "user"] or list(earlier[:1])
        return tuple(_with_text(turn, _cut_middle(turn["content"], budget - _TURN_UNITS)) for turn in asked[-1:])

    def _windows(self, text: str, room: int, units: int) -> list[str]:
        windows: list[str] = []
        for window in _slide(text, room, self.overlap_tokens * UNITS_PER_TOKEN):
            if len(windows) == self.max_windows:
                raise self._too_long(units, f" in each of {self.max_windows} windows")
            windows.append(window)
        return windows


def _with_text(turn: Message, text: str) -> Message:
    return {"role": turn["role"], "content": text}


def _units(conversation: Conversation) -> int:
    units = len(conversation) * _TURN_UNITS
    for turn in conversation:
        units += text_units(turn["content"])
    return units


def _characters(conversation: Conversation) -> int:
    return sum(len(turn["content"]) for turn in conversation)


def _newest(earlier: Conversation, budget: int) -> Conversation:
    """A leading system turn if it fits, and the most of the newest turns that starts with a user's."""
    system = earlier[:1] if earlier and earlier[0]["role"] == "system" and _units(earlier[:1]) <= budget else ()
    budget -= _units(system)
    start = len(earlier)
    for index in range(len(earlier) - 1, -1, -1):
        budget -= _units(earlier[index : index + 1])
        if budget < 0 or earlier[index]["role"] == "system":
            break
        if earlier[index]["role"] == "user":
            start = index
    return system + earlier[start:]


def _cut_middle(text: str, units: int) -> str:
    """The text, or as much of its start and its end as `units` allow, in equal shares."""
    if text_units(text) <= units:
        return text
    head = _boundary(text, reach(text, units // 2), -1)
    tail = _boundary(text, len(text) - reach(text, units - text_units(text[:head]), from_end=True), 1)
    return text[:head] + text[tail:]


def _slide(text: str, room: int, overlap: int) -> Iterator[str]:
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
