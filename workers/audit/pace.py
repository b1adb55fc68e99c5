"""Keeps work below a rate: each piece waits until the pieces before it have had their time.

Knows nothing of what the work is.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable


class Pace:
    """Lets through `rate` a second; what was not used is not saved up.

    Args:
        rate: a second; None: no limit.
        clock: monotonic seconds.
        sleep: waits that many seconds; a test may pass its own.
    """

    def __init__(
        self,
        rate: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._paid_until = clock()

    async def take(self, amount: float) -> None:
        """Wait for what was taken before, then take this."""
        if self._rate is None:
            return
        now = self._clock()
        wait = self._paid_until - now
        self._paid_until = max(now, self._paid_until) + amount / self._rate
        if wait > 0:
            await self._sleep(wait)
