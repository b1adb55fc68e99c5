"""Callers of a guard that always have a chunk under way, as an audit's actors have; for `weir bench background`.

They run in a Ray actor, a process of its own, so that making and sending chunks does not delay the sender of live
messages.
"""

import asyncio
from itertools import count
from typing import Any

from schemas.errors import GuardUnavailableError
from workers.bench.serving.open_load import chat_messages
from workers.guard.client import GuardClient

RETRY_S = 0.1


class BackgroundCallers:
    """So many callers.

    Args:
        handle: Serve handle of the guard's deployment.
        callers: how many chunks are under way.
        chunk: messages of a chunk.
        timeout_s: of a call.
        background: their calls give way to live ones.
    """

    def __init__(self, handle: Any, callers: int, chunk: int, timeout_s: float, *, background: bool) -> None:
        self._guard = GuardClient(handle, timeout_s, background=background)
        self._callers = callers
        self._chunk = chunk
        self._numbers = count()
        self._judged = 0
        self._started = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._is_calling = False

    async def begin(self, label: str) -> None:
        """Start to call; no two labels give equal messages."""
        self._judged = 0
        self._is_calling = True
        self._started = asyncio.get_running_loop().time()
        self._tasks = [asyncio.create_task(self._ask_on(label)) for _ in range(self._callers)]

    async def end(self) -> float:
        """Stop; returns messages a second that were judged."""
        rate = self._judged / (asyncio.get_running_loop().time() - self._started)
        self._is_calling = False  # Python 3.11's `wait_for` may give an answer in place of the cancellation
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return rate

    async def _ask_on(self, label: str) -> None:
        while self._is_calling:
            try:
                reply = await self._guard.judge(chat_messages(self._chunk, f"{label}-{next(self._numbers)}"))
                self._judged += len(reply.answers)
            except GuardUnavailableError:
                await asyncio.sleep(RETRY_S)
