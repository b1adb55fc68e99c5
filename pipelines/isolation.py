"""Whether a request that failed alone is to blame: only if a known-good conversation passes at the same time.

Otherwise the guard is broken, not the record (P5).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext

from pipelines.backoff import Backoff
from pipelines.guard import GuardReply, GuardRequest, Judged
from schemas.errors import GuardCallFailedError, GuardCrashError, ItemError
from schemas.reasons import Reason

PROBE = GuardRequest(({"role": "user", "content": "hello"},), 1, {})
Sleep = Callable[[float], Awaitable[None]]
Call = Callable[[Sequence[GuardRequest], Backoff], Awaitable[GuardReply]]


class Isolation:
    """Tries requests alone that have failed alone.

    Args:
        call: calls the guard; holds while it is down.
        max_attempts: tries of a request that raises.
        max_crashes: replica deaths of one request.
        held: called whenever the guard is what holds requests up.
        sleep: waits that many seconds.
    """

    def __init__(self, call: Call, max_attempts: int, max_crashes: int, held: Callable[[], None], sleep: Sleep) -> None:
        self._call = call
        self._max_attempts = max_attempts
        self._max_crashes = max_crashes
        self._held = held
        self._sleep = sleep
        self._suspects = asyncio.Lock()

    async def judge(self, request: GuardRequest, error: Exception, backoff: Backoff) -> Judged:
        """Judge a request whose first try alone ended with `error`: an answer, or the error that it is blamed for."""
        failures = crashes = 0
        suspected = False
        probe = await self._probe(backoff)
        while True:
            crashed = isinstance(error, GuardCrashError)
            if probe is not None and crashed and not suspected:
                # All calls on a dying replica see its death. So after the first one this request waits for its turn
                # among those that are suspected too, and only a death in its own turn is counted.
                suspected = True
            elif probe is not None:
                crashes += crashed
                failures += not crashed
                if crashes >= self._max_crashes:
                    crash = ItemError(Reason.REPLICA_CRASH, f"alone in its call, the replica died {crashes} times")
                    return Judged(crash, probe.provenance, failures + crashes)
                if failures >= self._max_attempts:
                    failure = ItemError(Reason.INFERENCE_FAILED, f"alone in its call, it raised {failures} times")
                    return Judged(failure, probe.provenance, failures + crashes)
            async with self._suspects if suspected else nullcontext():
                try:
                    reply = await self._call([request], backoff)
                except (GuardCrashError, GuardCallFailedError) as again:
                    error = again
                else:
                    return Judged(reply.answers[0], reply.provenance, failures + crashes + 1)
                probe = await self._probe(backoff)

    async def _probe(self, backoff: Backoff) -> GuardReply | None:
        """What the guard says of a known-good conversation, after a wait; None where that fails as well."""
        await self._sleep(backoff.next_wait_s())
        try:
            return await self._call([PROBE], backoff)
        except (GuardCrashError, GuardCallFailedError):
            self._held()
            return None
