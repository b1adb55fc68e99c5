"""Guards that cost nothing, so that only their caller is measured, and a loop for them to answer on."""

import asyncio
import threading
from collections.abc import Sequence

from pipelines.guard import GuardAnswer, GuardReply, GuardRequest
from schemas.verdict import Provenance

PROVENANCE = Provenance(model="stub", revision="0", prompt_sha256="0", engine="stub", dtype="none", parser="1")


class InstantGuard:
    """Answers every prompt at once with Safe."""

    async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply:
        """See `pipelines.guard.Guard`."""
        answer = GuardAnswer("Safety: Safe\nCategories: None", None, None, 300, 8, True, {}, 0.0, 0.0)
        return GuardReply([answer] * len(requests), PROVENANCE)


class StalledGuard:
    """Takes requests and never answers."""

    async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply:
        """See `pipelines.guard.Guard`."""
        await asyncio.Event().wait()
        raise AssertionError(len(requests))


def running_loop() -> asyncio.AbstractEventLoop:
    """An asyncio loop that runs on a thread of its own."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop
