"""A guard that does what a message's text asks for, so that a schedule can be written into the load.

Also obeys two files that a test makes and removes: while `guard-down` is there, no replica answers; while
`guard-stalled` is there, calls wait. The answer to a text is always the same. Stands in for Ray Serve and the model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from pipelines.guard import GuardAnswer, GuardReply, GuardRequest
from schemas.errors import GuardCallFailedError, GuardCrashError, GuardUnavailableError
from schemas.verdict import Provenance

SAFE = "Safety: Safe\nCategories: None"
UNSAFE = "Safety: Unsafe\nCategories: Violent"
PROVENANCE = Provenance(model="ruled", revision="1", prompt_sha256="0", engine="ruled", dtype="none", parser="1")
RAISE, KILL, GARBLE, HURT, WAIT = "chaos:raise", "chaos:kill", "chaos:garble", "chaos:hurt", "chaos:wait="
HANG, HANG_ONCE = "chaos:hang", "chaos:once-hang"
DOWN, STALLED = "guard-down", "guard-stalled"
STEP_S = 0.02


class RuledGuard:
    """Answers after the longest wait, in milliseconds, that a text of the call asks for.

    Args:
        folder: where the two files are looked for.
    """

    def __init__(self, folder: Path) -> None:
        self._down = folder / DOWN
        self._stalled = folder / STALLED
        self.in_call = 0

    async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply:
        """See `pipelines.guard.Guard`."""
        texts = [request.conversation[-1]["content"] for request in requests]
        self.in_call += len(texts)
        try:
            while self._stalled.exists():
                await asyncio.sleep(STEP_S)
            if wait_ms := max(map(wait_asked_ms, texts)):
                await asyncio.sleep(wait_ms / 1000)
            if self._down.exists():
                raise GuardUnavailableError("the test says that no replica answers")
            if any(KILL in text for text in texts):
                raise GuardCrashError("a text of this call says that it shall kill the replica")
            if any(RAISE in text for text in texts):
                raise GuardCallFailedError("a text of this call says that it shall raise")
            return GuardReply([_answer(text) for text in texts], PROVENANCE)
        finally:
            self.in_call -= len(texts)


def wait_asked_ms(text: str) -> int:
    """How long a text wants its call to take."""
    _, found, rest = text.partition(WAIT)
    return int(rest.split()[0]) if found else 0


def output_for(text: str) -> str:
    """What the model writes about a text."""
    return "Safety: perhaps" if GARBLE in text else UNSAFE if HURT in text else SAFE


def _answer(text: str) -> GuardAnswer:
    return GuardAnswer(output_for(text), None, None, 10, 8, True, {}, 0.0, 1.0)
