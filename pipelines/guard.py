"""The port to whatever runs the model: what is asked, what comes back, and how it may fail.

Tuples rather than dataclasses, because one of each is made for every message.
Knows nothing of Ray, of engines or of the verdict grammar.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from schemas.errors import ItemError
from schemas.event import Message
from schemas.reasons import Reason
from schemas.verdict import Provenance

Conversation = tuple[Message, ...]
CHUNK_SIZE = 64  # default of the events of one call
ASK_SHARE = 0.15  # default of the time that asks may add to what live waits for
BATCH_SIZE = 256  # default of the items of one GPU batch; beyond it a pass of the engine gains nothing


class GuardRequest(NamedTuple):
    """One conversation to judge.

    Attributes:
        conversation: turns as `{"role", "content"}`.
        tokens: estimated prompt tokens of the text.
        carrier: W3C trace context of the message; empty where it is not sampled.
    """

    conversation: Conversation
    tokens: int
    carrier: Mapping[str, str]


class GuardAnswer(NamedTuple):
    """The model's answer to one request.

    Attributes:
        text: whole output, stop token removed; empty where `error` is set.
        error: reason code where the guard could not judge this one item.
        scores: probabilities by question (`safety`, `category`, `refusal`) and label, where the engine gives them.
        finished: False where the output was cut off at the token limit.
        carrier: W3C trace context of the GPU batch it rode in; empty where that is not sampled.
        queue_ms: from arrival in the replica to the start of its GPU batch.
        guard_ms: duration of the GPU batch.
    """

    text: str
    error: Reason | None
    scores: Mapping[str, Mapping[str, float]] | None
    prompt_tokens: int
    output_tokens: int
    finished: bool
    carrier: Mapping[str, str]
    queue_ms: float
    guard_ms: float


class GuardReply(NamedTuple):
    """Answers of one call, one per request and in their order, and what gave them."""

    answers: Sequence[GuardAnswer]
    provenance: Provenance

    def __reduce__(self) -> tuple[Any, ...]:
        return _reply_of, (list(zip(*self.answers, strict=True)), self.provenance)


class Chunk(list[GuardRequest]):
    """Requests of one call.

    They go from process to process by columns, as answers do: Ray's pickler asks Python about every tuple that has a
    class of its own, which takes several times as long as all else.
    """

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return _requests_of, (list(zip(*self, strict=True)),)


def _requests_of(columns: Sequence[tuple[Any, ...]]) -> list[GuardRequest]:
    return list(map(GuardRequest._make, zip(*columns, strict=True)))


def _reply_of(columns: Sequence[tuple[Any, ...]], provenance: Provenance) -> GuardReply:
    return GuardReply(list(map(GuardAnswer._make, zip(*columns, strict=True))), provenance)


class Judged(NamedTuple):
    """What became of one request: an answer, or an error of this item alone, and what judged."""

    result: GuardAnswer | ItemError
    provenance: Provenance
    attempts: int


class Guard(Protocol):
    """A way to the model."""

    async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply:
        """Judge some conversations in one call.

        Raises:
            GuardUnavailableError: nothing answered; says nothing about the requests.
            GuardCrashError: the replica died while it ran this call.
            GuardCallFailedError: the call raised in the replica's code.
        """
        ...
