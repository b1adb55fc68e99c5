"""A guard that answers each text as a test says, and a judge of it that never waits."""

from collections.abc import Callable, Sequence

from pipelines.backoff import Backoff
from pipelines.guard import Guard, GuardAnswer, GuardReply, GuardRequest
from pipelines.judging import Judge
from schemas.errors import GuardCallFailedError
from tests.guards.scripted_guard import PROVENANCE, text_of

CRASH = "crash"  # a text that no call survives


class AnsweringGuard:
    """Answers by the judged text; keeps the size of every call."""

    def __init__(self, said: Callable[[str], GuardAnswer]) -> None:
        self._said = said
        self.calls: list[int] = []

    async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply:
        """See `pipelines.guard.Guard`."""
        self.calls.append(len(requests))
        texts = [text_of(request) for request in requests]
        if CRASH in texts:
            raise GuardCallFailedError("Boom")
        return GuardReply([self._said(text) for text in texts], PROVENANCE)


def judge_without_waits(guard: Guard, held: Callable[[], None] = lambda: None) -> Judge:
    """Two tries of a request that raises alone, and no time between them; `held` is the judge's."""
    return Judge(guard, max_attempts=2, max_crashes=2, new_backoff=lambda: Backoff(0.1, 1.0), held=held, sleep=_at_once)


async def _at_once(_seconds: float) -> None:
    """Takes no time."""
