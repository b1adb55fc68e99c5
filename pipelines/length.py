"""What happens to a conversation that is too long for the model: refuse it, cut it, or judge it in windows.

The last message is judged; earlier turns are context, and the oldest go first. Counts are estimates of the
conversation's own text and turns; the template's fixed tokens come on top. What is cut out of a middle is not judged,
and the verdict says so; windows cover all of the last message.
Does not tokenise and does not render.
"""

from typing import Literal, NamedTuple, Protocol

from pipelines.guard import Conversation
from pipelines.shortening import context_of, cut_middle, slide, with_text
from pipelines.token_estimate import ESTIMATE_VERSION, UNITS_PER_TOKEN, conversation_units, text_units, tokens_of
from schemas.errors import ConfigurationError, EventError
from schemas.reasons import Reason
from schemas.verdict import Handling

Mode = Literal["dead_letter", "truncate_middle", "window"]

MIN_TOKENS = 64
MAX_TOKENS = 4_096  # the default


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


class LengthRule(Protocol):
    """What is done with long conversations: `LengthPolicy`, or `JudgedWhole`.

    Attributes:
        signature: all that decides what is judged in place of a conversation; part of a verdict's id.
    """

    signature: str

    def fit(self, conversation: Conversation) -> Fitted:
        """Fit one conversation.

        Raises:
            EventError: the rule refuses it.
        """
        ...


class JudgedWhole:
    """No rule: every conversation is judged as it is, as published figures are made."""

    signature = "whole"

    def fit(self, conversation: Conversation) -> Fitted:
        """Never refuses; the guard may."""
        return Fitted((conversation,), "whole", 0, (tokens_of(conversation_units(conversation)),))


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
        units = conversation_units(conversation)
        if units <= self._limit:
            return Fitted((conversation,), "whole", 0, (tokens_of(units),))
        if self.mode == "dead_letter":
            raise self._too_long(units, "")
        context, room = context_of(conversation, self._limit, cuts_middle=self.mode == "truncate_middle")
        last = conversation[-1]
        text = last["content"]
        if self.mode == "truncate_middle":
            handling: Handling = "truncated_middle"
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


def _characters(conversation: Conversation) -> int:
    return sum(len(turn["content"]) for turn in conversation)
