"""What is said of a token, when a turn is raised, and why a session is not judged. Knows nothing of models or text."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Role: TypeAlias = Literal["user", "assistant"]
Debounce: TypeAlias = Literal["paper", "script"]
StreamReason: TypeAlias = Literal[
    "not_rendered",
    "unsupported_role",
    "empty_conversation",
    "invalid_text",
    "context_overflow",
    "delta_too_large",
    "delta_after_final",
    "session_closed",
    "too_many_sessions",
    "non_finite_logits",
]

SAFE: Final = "Safe"
RISKS: Final = frozenset({SAFE, "Unsafe", "Controversial"})
DEBOUNCES: Final[tuple[Debounce, ...]] = ("paper", "script")


class SessionRefusedError(Exception):
    """No session was opened; `reason` says why. Other sessions are not touched."""

    def __init__(self, reason: StreamReason) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class TokenVerdict:
    """What the model says at one token of a turn.

    `index` counts the turn's tokens from 0; the user's turn has one verdict, at its closing token, whose index is the
    number of tokens before it. `offset` is the number of the turn's characters up to the token's end; a token that
    holds a part of a character counts the whole. `risk` is "Safe", "Unsafe" or "Controversial", `category` the
    likeliest one, None where `risk` is Safe. `probabilities` are by head ("risk", "category") and label. `provisional`:
    the text that follows can still change the token, and a later push says it again. `raised`: the turn is flagged,
    here or at an earlier token of it; once raised it stays so.
    """

    index: int
    offset: int
    role: Role
    risk: str
    category: str | None
    probabilities: Mapping[str, Mapping[str, float]]
    provisional: bool
    raised: bool


class TokenVerdicts(list[TokenVerdict]):
    """The verdicts of one push, in the order of their tokens; `error` is why it was not, or not wholly, judged."""

    def __init__(self, verdicts: Iterable[TokenVerdict] = (), error: StreamReason | None = None) -> None:
        super().__init__(verdicts)
        self.error = error


@dataclass(frozen=True, slots=True)
class Raising:
    """Whether an answer is flagged so far; made anew at each token.

    "paper" flags at the second of two tokens in a row that are both not Safe (arXiv 2510.14276), "script" at the second
    of two in a row that have the same label other than Safe, as the authors' evaluation does.
    """

    debounce: Debounce
    last: str = SAFE
    raised: bool = False

    def after(self, risk: str) -> "Raising":
        """The state behind a token with this label."""
        both = risk != SAFE and self.last != SAFE
        flags = both and (self.debounce == "paper" or risk == self.last)
        return Raising(self.debounce, risk, self.raised or flags)
