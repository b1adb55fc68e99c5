"""What is particular to a family of guard models: how its output is read, what its labels mean, how long its frame is.

Another family is another value here, with a parser of its own. Its labels and drafts, as the engine needs them, are a
`VerdictFormat` in `workers.serving.engine.verdict_format`. Loads nothing.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pipelines.guard_parser import (
    CATEGORIES,
    PARSER_VERSION,
    REFUSALS,
    SEVERITIES,
    Classification,
    parse_verdict,
)
from schemas.errors import ItemError
from schemas.event import Task
from schemas.reasons import Reason
from schemas.verdict import Category, Scores, Severity

_ROUNDING = 1e-3
# A role at the start of a line, or a tag; both also as someone would write them who is not careful.
_LINE_ENDS = r"\n\r\v\f\x1c-\x1e\x85\u2028\u2029"
_ROLE = r"(?:user|assistant)[^\S\n]{0,8}:"
_TAG = r"<[^\S\n]{0,8}(?:begin|end)[^\S\n]{1,8}[a-z][a-z ]{0,40}>"


class FrameTokens(NamedTuple):
    """Tokens around the conversation; the prefix is computed once per process, the others for every message.

    `between` separates two turns, `draft` is the drafted verdict with its end, `ends` are the line ends after messages.
    """

    prefix: int
    tail: int
    between: int
    draft: int
    ends: int


@dataclass(frozen=True, slots=True)
class GuardFamily:
    """One family.

    Attributes:
        name: as its makers call it.
        parser_version: changes whenever `parse` reads an output otherwise; part of every verdict's provenance.
        parse: reads one raw output; raises UnparsableOutputError where it departs from the grammar.
        severities, categories: what each label stands for that the model writes.
        refusal_label: the one that says that a response is a refusal.
        template_text: finds what the chat template writes around contents, in a content.
        frames: what the chat template puts around a conversation.
        context_tokens: longest prompt and answer.
    """

    name: str
    parser_version: str
    parse: Callable[[str, Task], Classification]
    severities: Mapping[str, Severity]
    categories: Mapping[Task, Mapping[str, Category]]
    refusal_label: str
    template_text: re.Pattern[str]
    frames: Mapping[Task, FrameTokens]
    context_tokens: int

    def fixed_tokens(self, task: Task) -> int:
        """Tokens of a prompt that are not its conversation's, with those of the drafted verdict."""
        frame = self.frames[task]
        return frame.prefix + frame.ends + frame.between + frame.tail + frame.draft


QWEN3GUARD_GEN = GuardFamily(
    name="Qwen3Guard-Gen",
    parser_version=PARSER_VERSION,
    parse=parse_verdict,
    severities=SEVERITIES,
    categories=CATEGORIES,
    refusal_label=next(label for label, is_refusal in REFUSALS.items() if is_refusal),
    template_text=re.compile(
        rf"(?:(?:\A\s*|(?<=[{_LINE_ENDS}])[^\S\n]{{0,8}}){_ROLE}|{_TAG})(?:\s*(?:{_ROLE}|{_TAG}))*", re.IGNORECASE
    ),
    frames={Task.PROMPT: FrameTokens(201, 95, 0, 7, 1), Task.RESPONSE: FrameTokens(267, 118, 4, 12, 2)},
    context_tokens=32_768,
)


def scores_of(scores: Mapping[str, Mapping[str, float]], family: GuardFamily) -> Scores:
    """Probabilities by label, of each head.

    Raises:
        ItemError: one is no probability.
    """
    refusal = scores.get("refusal")
    return Scores(
        severity={family.severities[label]: _probability(value) for label, value in scores["safety"].items()},
        categories={label: _probability(value) for label, value in scores["category"].items()},
        refusal=None if refusal is None else _probability(refusal[family.refusal_label]),
    )


def _probability(value: float) -> float:
    """A probability out of floating-point arithmetic: at most a rounding error outside of 0 to 1, or an error."""
    if not -_ROUNDING <= value <= 1 + _ROUNDING:  # NaN, too
        raise ItemError(Reason.NON_FINITE_LOGITS, "a score is not a probability")
    return min(1.0, max(0.0, value))
