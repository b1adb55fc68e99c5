"""The port to whatever judges turns while they are written: what is asked, what comes back, and how it may fail.

Whoever judges may forget a turn at any time; whoever asks has its text, and gives it again. So nothing but speed
depends on who is asked. Knows nothing of Ray, of engines or of where frames come from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol
from zlib import crc32

from schemas.event import Message
from schemas.turns.frame import TurnRole
from schemas.turns.verdict import StreamProvenance, TurnEnd

SHARDS: Final = 64  # ways to the guard: many more than replicas, so that each has its share
SESSION_UNKNOWN: Final = "session_unknown"
PushError = TurnEnd | Literal["session_unknown"]


class TurnKey(NamedTuple):
    """What tells a turn from all others."""

    tenant: str
    conversation_id: str
    turn: int

    @property
    def shard(self) -> int:
        """Which of the ways to the guard its conversation takes; the pushes of one call share it."""
        return crc32(f"{self.tenant}\x1f{self.conversation_id}".encode("utf-8", "surrogatepass")) % SHARDS


class TurnPush(NamedTuple):
    """What comes next of one turn.

    Attributes:
        messages: the turns before, to open a session for it; None where it should be open.
        at: characters of the turn before `text`; a session that stands elsewhere is not the one meant.
        text: what comes next; where `messages` are given, all of the turn so far.
        final: nothing more will come.
        said: what need not be said again: of an answer 1 for the user's turn and 1 for each token; 0 for all.
        alone: it may have broken a call, and is to be run by itself.
        carrier: W3C trace context; empty where it is not sampled.
    """

    key: TurnKey
    messages: tuple[Message, ...] | None
    at: int
    text: str
    final: bool
    said: int
    alone: bool
    carrier: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class JudgedToken:
    """What the model says at one token; see `schemas.turns.verdict.StreamVerdict` for the fields."""

    index: int
    offset: int
    role: TurnRole
    risk: str
    category: str | None
    probabilities: Mapping[str, Mapping[str, float]]
    provisional: bool
    raised: bool


class PushAnswer(NamedTuple):
    """What came of one push: settled tokens, each once, then provisional ones; why it was not judged to its end."""

    tokens: Sequence[JudgedToken]
    error: PushError | None


class PushReply(NamedTuple):
    """Answers of one call, one per push and in their order, and what gave them."""

    answers: Sequence[PushAnswer]
    provenance: StreamProvenance


class TurnJudge(Protocol):
    """A way to the model."""

    async def push(self, pushes: Sequence[TurnPush]) -> PushReply:
        """Judge what comes next of some turns of one shard, in one call.

        Raises:
            GuardUnavailableError: nothing answered; says nothing about the pushes.
            GuardCrashError: the replica died while it ran this call.
            GuardCallFailedError: the call raised in the replica's code.
        """
        ...
