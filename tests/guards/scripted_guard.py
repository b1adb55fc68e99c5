"""A guard whose answers, delays and failures a test writes down; stands in for Ray Serve and the model."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence

from pipelines.guard import GuardAnswer, GuardReply, GuardRequest
from schemas.reasons import Reason
from schemas.verdict import Provenance

SAFE = "Safety: Safe\nCategories: None"
PROVENANCE = Provenance(model="scripted", revision="1", prompt_sha256="0", engine="scripted", dtype="none", parser="1")
Script = Callable[[Sequence[GuardRequest]], Awaitable[None]]


def text_of(request: GuardRequest) -> str:
    """Content of the judged message."""
    return request.conversation[-1]["content"]


class ScriptedGuard:
    """Answers every request with `answer(text)`, after `script` let the call pass.

    Args:
        answer: model output for the judged text, or why there is none.
        script: awaited before each answer; may raise or wait.
    """

    def __init__(self, answer: Callable[[str], str | Reason] = lambda _: SAFE, script: Script | None = None) -> None:
        self.answer = answer
        self.script = script
        self.calls: list[list[str]] = []
        self.in_call = 0

    async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply:
        """See `pipelines.guard.Guard`."""
        self.calls.append([text_of(request) for request in requests])
        self.in_call += len(requests)
        try:
            if self.script is not None:
                await self.script(requests)
            said = [self.answer(text_of(request)) for request in requests]
            return GuardReply([_answer(text) for text in said], PROVENANCE)
        finally:
            self.in_call -= len(requests)


def _answer(said: str | Reason) -> GuardAnswer:
    error = said if isinstance(said, Reason) else None
    return GuardAnswer("" if error else said, error, None, 10, 8, True, {}, 0.0, 1.0)


class Gate:
    """An event that a test opens and coroutines of another thread wait for."""

    def __init__(self) -> None:
        self._open = threading.Event()

    def open(self) -> None:
        """Let everything pass from now on."""
        self._open.set()

    @property
    def is_open(self) -> bool:
        """True once opened."""
        return self._open.is_set()

    async def passed(self) -> None:
        """Wait until the gate is open."""
        while not self._open.is_set():
            await asyncio.sleep(0.002)
