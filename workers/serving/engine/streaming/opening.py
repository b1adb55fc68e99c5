"""Turns the messages of a conversation into the ids that stand before an answer, and finds the user's closing token.

Knows nothing of sessions or of the model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from transformers import PreTrainedTokenizerBase

from workers.serving.engine.completion import (
    EMPTY_CONVERSATION,
    INVALID_TEXT,
    REJECTED,
    UNSUPPORTED_ROLE,
    Completion,
    Conversation,
)
from workers.serving.engine.prompt import ControlToken, PromptBuilder, has_utf8, specification_of
from workers.serving.engine.prompt_pieces import ContentSlot
from workers.serving.engine.streaming.locations import characters_of
from workers.serving.engine.streaming.turn_text import TurnTokenizer
from workers.serving.engine.streaming.verdicts import SessionRefusedError

_END: Final = "<|im_end|>"
_THINKING_STARTS: Final = "<think>"
_THINKING_ENDS: Final = "</think>"
# The call of the model's card: an answer starts behind an empty thinking part.
_TEMPLATE_OPTIONS: Final = {"add_generation_prompt": True, "enable_thinking": False}


@dataclass(frozen=True, slots=True)
class Opening:
    """What stands before an answer: its ids, where the user's turn closes, and how long that turn is.

    `user_end` is (tokens, characters); `begun` is the text that the answer already has.
    """

    ids: tuple[int, ...]
    user_at: int
    user_end: tuple[int, int]
    begun: str


class Opener:
    """Opens conversations for one tokenizer with at most `max_positions` tokens.

    Raises ValueError where the chat template does not close the user's turn with `<|im_end|>` before the answer starts.
    """

    def __init__(self, name: str, tokenizer: PreTrainedTokenizerBase, max_positions: int) -> None:
        self._builder = PromptBuilder(tokenizer, max_tokens=max_positions, template_options=_TEMPLATE_OPTIONS)
        self.sha256: Final = self._builder.sha256
        self.text: Final = TurnTokenizer(specification_of(tokenizer))
        self._end_id: int = tokenizer.convert_tokens_to_ids(_END)
        self._thinking_id: int = tokenizer.convert_tokens_to_ids(_THINKING_STARTS)
        plan = self._builder.plan(("user",)) or ()
        shown = next((place for place, part in enumerate(plan) if isinstance(part, ContentSlot)), len(plan))
        controls = [part.token_id for part in plan[shown:] if isinstance(part, ControlToken)]
        if controls[:1] != [self._end_id] or self._end_id in controls[1:]:
            raise ValueError(f"guard.model {name!r}: the chat template does not close the user's turn with {_END}")

    def located(self, messages: Conversation, first: int, last: int) -> tuple[int, int] | None:
        """See `StreamGuard.located`."""
        opening = self.open(messages)
        if self._thinking_id not in opening.ids[opening.user_at :]:
            return None
        at = len(opening.ids) - 1 - opening.ids[::-1].index(self._thinking_id)
        return characters_of(self.text, opening.begun, at, first, last)

    def open(self, messages: Conversation) -> Opening:
        """The opening of an answer to the last user's turn; where the last turn is the answer, that has begun.

        Raises SessionRefusedError for a conversation that cannot be opened.
        """
        turns = [message if isinstance(message, Mapping) else {} for message in messages]
        begun: object = ""
        if turns and turns[-1].get("role") == "assistant":
            begun = turns.pop().get("content")
        if not isinstance(begun, str) or not has_utf8(begun):
            raise SessionRefusedError(INVALID_TEXT)
        if not turns:
            raise SessionRefusedError(EMPTY_CONVERSATION)
        if turns[-1].get("role") != "user":
            raise SessionRefusedError(UNSUPPORTED_ROLE)
        prepared = self._builder.prepare([_as_history(turn) for turn in turns])
        if isinstance(prepared, Completion):
            error = prepared.error
            raise SessionRefusedError("not_rendered" if error is None or error == REJECTED else error)
        ids = tuple(prepared.token_ids.tolist())
        content = str(turns[-1]["content"])
        user_end = (len(self.text.encoded(content).ids), len(content))
        # No text becomes a control token, so the last one is the template's.
        return Opening(ids, len(ids) - 1 - ids[::-1].index(self._end_id), user_end, begun)


def _as_history(turn: Mapping[str, object]) -> Mapping[str, object]:
    """An earlier answer without its thinking and the line ends before it, which Qwen3's template leaves out."""
    content = turn.get("content")
    if turn.get("role") != "assistant" or not isinstance(content, str):
        return turn
    return {**turn, "content": content.split(_THINKING_ENDS)[-1].lstrip("\n")}
