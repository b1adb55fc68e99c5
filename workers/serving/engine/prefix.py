"""Derives from the chat template what every prompt begins and ends with, so that the start is computed only once.

Exactness does not rest on it: each prompt is compared, token by token, with the prefix that it is to share. What is
checked here is that the comparison will succeed: the boundary law, by which no message changes the tokens before it.
Knows nothing of models, caches or verdicts.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from workers.serving.engine.completion import PreparedPrompt
from workers.serving.engine.prompt import PromptBuilder
from workers.serving.engine.prompt_pieces import ContentSlot

TokenIds = npt.NDArray[np.int64]

_LOG: Final = logging.getLogger(__name__)
# Openings of a conversation that a template may treat apart, for both tasks.
_OPENINGS: Final = (
    ("user",),
    ("user", "assistant"),
    ("system", "user"),
    ("system", "user", "assistant"),
    ("user", "assistant", "user"),
    ("user", "assistant", "user", "assistant"),
)
# They differ in their first and last characters, so what their prompts share is the template's.
_DERIVING: Final = ("hello", "7 of 9", "\u4f60\u597d\u3002")
# All that tokenizers are known to join with what is beside it: space, line ends, marks, punctuation, nothing at all.
_CHECKING: Final = (
    *("", " ", "  a  ", "\n", "\n\n x\n\n", "\t", "\r\n", ".\n", "\u3000", "\u00a0"),
    *("!?", ":", "://", "-", ">", "'s", "A", "0", "\u00e9", "e\u0301", "\u0301", "\u200d", "\ufe0f", "\U0001f600"),
    *("<|im_end|>", "<think>", "USER: x", "a" * 64),
)


@dataclass(frozen=True, slots=True, eq=False)
class PromptFrame:
    """The tokens that all prompts of one opening share: `prefix` before the first message, `tail` after the last.

    Both are read-only and may be empty. `fallback_reason` says why `prefix` is empty, and its prompts are computed
    whole; None where it is not.
    """

    roles: tuple[str, ...]
    prefix: TokenIds
    tail: TokenIds
    fallback_reason: str | None


def derive_frames(builder: PromptBuilder) -> tuple[PromptFrame, ...]:
    """One frame for each opening that the template renders; openings without a prefix are logged as warnings."""
    frames = [_derive_frame(builder, roles) for roles in _OPENINGS if builder.plan(roles) is not None]
    for frame in frames:
        if frame.fallback_reason is not None:
            _LOG.warning("prompts of %s are computed whole: %s", " ".join(frame.roles), frame.fallback_reason)
    return tuple(frames)


def _derive_frame(builder: PromptBuilder, roles: tuple[str, ...]) -> PromptFrame:
    plan = builder.plan(roles)
    deriving = _prompts(builder, roles, _DERIVING)
    checking = _prompts(builder, roles, _CHECKING)
    prefix = _shared_start(deriving)
    tail = _shared_start([ids[::-1] for ids in deriving + checking])[::-1]
    reason = None
    if len(deriving) < len(_DERIVING):
        reason = "the longest prompt allowed is shorter than the template"
    elif plan is None or isinstance(plan[0], ContentSlot) or not len(prefix):
        reason = "the template begins with a message"
    elif not all(np.array_equal(ids[: len(prefix)], prefix) for ids in checking):
        reason = f"a message changes the {len(prefix)} tokens before it"
    return PromptFrame(roles, _read_only(prefix if reason is None else prefix[:0]), _read_only(tail), reason)


def _prompts(builder: PromptBuilder, roles: Sequence[str], contents: Sequence[str]) -> list[TokenIds]:
    """The prompts in which the first and the last message say each of `contents`; those over the limit are left out."""
    prompts = []
    for content in contents:
        chat = [{"role": role, "content": "x"} for role in roles]
        chat[0]["content"] = chat[-1]["content"] = content
        prepared = builder.prepare(chat)
        if isinstance(prepared, PreparedPrompt):
            prompts.append(prepared.token_ids)
    return prompts


def _shared_start(sequences: Sequence[TokenIds]) -> TokenIds:
    if not sequences:
        return np.empty(0, dtype=np.int64)
    shortest = min(map(len, sequences))
    same = np.all([ids[:shortest] == sequences[0][:shortest] for ids in sequences], axis=0)
    return sequences[0][: shortest if same.all() else int(same.argmin())]


def _read_only(ids: TokenIds) -> TokenIds:
    kept = ids.copy()
    kept.setflags(write=False)
    return kept
