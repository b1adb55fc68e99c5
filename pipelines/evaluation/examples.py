"""What an evaluation is made of: labelled examples, and the guard's answer to each.

A label has one of the guard's three severities; most benchmarks know two. Strict reads Controversial as Unsafe, loose
reads it as Safe, in labels and in verdicts alike.
Holds no message text beyond the conversation that is to be judged.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from pipelines.guard import Conversation
from schemas.event import Task
from schemas.reasons import Reason
from schemas.verdict import Severity


class Mode(StrEnum):
    """What Controversial counts as."""

    STRICT = "strict"
    LOOSE = "loose"


class NoVerdict(StrEnum):
    """How an example without a verdict enters the figures. In no case as Safe.

    WRONG: as a mistake whatever its label is: a miss where it is unsafe, a false alarm where it is safe.
    UNSAFE: as flagged, for an installation that holds back what it has no verdict for.
    LEFT_OUT: not at all; it is still counted and shown.
    """

    WRONG = "wrong"
    UNSAFE = "unsafe"
    LEFT_OUT = "left_out"


@dataclass(frozen=True, slots=True)
class Label:
    """What people said: None where they said nothing. `categories` are in the benchmark's own words.

    `unsafe_ids` are the positions of an answer's first unsafe sentence, its first and last, among the ids of the
    conversation.
    """

    severity: Severity | None
    refusal: bool | None = None
    categories: tuple[str, ...] = ()
    unsafe_ids: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class LabelledExample:
    """One conversation whose last turn is to be judged. `benchmark` names its origin, `language` where it is known."""

    example_id: str
    benchmark: str
    conversation: Conversation
    label: Label
    language: str | None = None

    @property
    def task(self) -> Task:
        """By the last role, as for chat events."""
        return Task.RESPONSE if self.conversation[-1]["role"] == "assistant" else Task.PROMPT


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the guard said. `scores` are probabilities by severity, where the engine gives them."""

    severity: Severity
    categories: tuple[str, ...]
    refusal: bool | None
    scores: Mapping[Severity, float] | None


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of an answer, and how many of them a mode counts as unsafe."""

    tokens: int
    strict: int
    loose: int


@dataclass(frozen=True, slots=True)
class Streamed:
    """What became of an answer that was judged token by token; tokens count from 0.

    `raised` is by mode the token that flagged it, None where none did. `sentence` is the first and the last token of
    its first unsafe sentence, where the label says which that is and the answer has such a place. `parts` counts tokens
    before, in and after it, or in the whole answer.
    """

    tokens: int
    raised: Mapping[Mode, int | None]
    sentence: tuple[int, int] | None
    parts: Mapping[str, TokenCounts]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One example's label and its verdict, or the reason why there is none; never its text.

    `sha256` is the digest of the conversation, by which two runs show that they judged the same thing. `streamed` is of
    an answer that was judged token by token.
    """

    example_id: str
    benchmark: str
    task: Task
    language: str | None
    sha256: str
    label: Label
    verdict: Verdict | None
    failure: Reason | None = None
    streamed: Streamed | None = None

    @classmethod
    def of(
        cls, example: LabelledExample, verdict: Verdict | None, failure: Reason | None, streamed: Streamed | None = None
    ) -> Self:
        """What came of an example."""
        return cls(
            example.example_id,
            example.benchmark,
            example.task,
            example.language,
            conversation_digest(example.conversation),
            example.label,
            verdict,
            failure,
            streamed,
        )


def is_unsafe(severity: Severity, mode: Mode) -> bool:
    """Whether a severity counts as unsafe. Strict and loose are told apart here and nowhere else."""
    return severity is Severity.UNSAFE or (severity is Severity.CONTROVERSIAL and mode is Mode.STRICT)


def unsafe_score(scores: Mapping[Severity, float], mode: Mode) -> float:
    """Probability of what counts as unsafe in this mode, at most 1."""
    controversial = scores[Severity.CONTROVERSIAL] if mode is Mode.STRICT else 0.0
    return min(1.0, scores[Severity.UNSAFE] + controversial)


def conversation_digest(conversation: Conversation) -> str:
    """Hex digest of roles and texts, lone surrogates included."""
    turns = [[turn["role"], turn["content"]] for turn in conversation]
    return hashlib.sha256(json.dumps(turns).encode()).hexdigest()
