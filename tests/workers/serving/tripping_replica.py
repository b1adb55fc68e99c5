"""A stream replica whose breaker opens when the test says so."""

import time

from schemas.reasons import Reason
from workers.serving.consumers.stream_replica import StreamReplica


class TrippingReplica(StreamReplica):
    """The real replica, with two calls more."""

    checks = 0

    async def trip(self) -> None:
        """Open the breaker as outcomes would."""
        self._breaker.observe(time.monotonic(), letters={Reason.UNPARSABLE_OUTPUT: 5_000})

    async def check_health(self) -> None:
        """Serve's check, counted."""
        self.checks += 1
        await super().check_health()

    async def health_checks(self) -> tuple[bool, int]:
        """Whether the breaker is open, and how often Serve has looked at this replica."""
        return self._breaker.is_open, self.checks
