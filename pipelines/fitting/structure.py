"""A content that looks like a conversation is judged as it is and part by part (P14).

A chat template writes roles and tags around contents, in plain text. A content that holds the same text makes the
prompt of a conversation that nobody had: "EVIL", an answer, and last a harmless word, which alone would be judged. So
each part into which such text cuts a content is judged as well, and the worst verdict counts.

In these further conversations no content holds structure: in the context it is cut out.
"""

import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Literal

from pipelines.fitting.length import Fitted, LengthRule, fit
from pipelines.fitting.length_policy import with_text
from pipelines.guard import Conversation
from pipelines.guard_family import QWEN3GUARD_GEN
from schemas.errors import EventError
from schemas.reasons import Reason

Mode = Literal["judge_parts", "dead_letter"]
MAX_PARTS = 8  # of one content; a message of more has its last ones judged together


class StructureRule:
    """What is done with a content that holds text which the chat template writes around contents. Immutable.

    Args:
        mode: `judge_parts`, or `dead_letter` to refuse it.
        template_text: finds what the template writes, in a content.

    Attributes:
        found_in: something true for a content that holds such text.
        signature: all that decides what is judged; part of a verdict's id.
    """

    def __init__(self, mode: Mode, template_text: re.Pattern[str]) -> None:
        self._mode = mode
        self._template_text = template_text
        self.found_in: Callable[[str], object] = template_text.search
        self.signature = f"{mode}:{MAX_PARTS}:{sha256(template_text.pattern.encode()).hexdigest()[:8]}"

    def fit(self, conversation: Conversation, length: LengthRule) -> tuple[Fitted, int]:
        """What is judged in place of a conversation of which a content holds such text, and how many times it does.

        `characters_dropped` is that of the conversation as it is.

        Raises:
            EventError: `structure_in_text`, by this rule; or the length rule refuses the conversation.
        """
        found = sum(len(self._template_text.findall(turn["content"])) for turn in conversation)
        if self._mode == "dead_letter":
            raise EventError(
                Reason.STRUCTURE_IN_TEXT, f"messages: {found} times text that the chat template writes around contents"
            )
        fitted, *parts = [fit(judged, length) for judged in (conversation, *self._apart(conversation))]
        for part in parts:
            fitted = fitted._replace(
                conversations=fitted.conversations + part.conversations, tokens=fitted.tokens + part.tokens
            )
        return fitted, found

    def _apart(self, conversation: Conversation) -> Iterator[Conversation]:
        *context, judged = conversation
        plain = [with_text(turn, "\n".join(self._parts(turn["content"]))) for turn in context]
        parts = self._parts(judged["content"])
        first, rest = parts[: MAX_PARTS - 1], parts[MAX_PARTS - 1 :]
        for text in dict.fromkeys([*first, "\n".join(rest)] if rest else first):
            yield (*plain, with_text(judged, text))

    def _parts(self, text: str) -> list[str]:
        """What stands between pieces of structure, without blank ones; a text without structure is one part."""
        return [stripped for part in self._template_text.split(text) if (stripped := part.strip())]


JUDGED_IN_PARTS = StructureRule("judge_parts", QWEN3GUARD_GEN.template_text)
