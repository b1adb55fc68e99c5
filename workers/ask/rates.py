"""Limits of a caller in requests and tokens a minute, by the generic cell rate algorithm: one number for each.

A minute's worth may come at once; what was spent comes back evenly.
"""

from collections.abc import Callable
from math import ceil

from schemas.errors import AskRefusedError

MINUTE_S = 60.0


class Rate:
    """One limit.

    Args:
        unit: what is counted.
        per_minute: how many.
        clock: seconds, monotonic.
    """

    def __init__(self, unit: str, per_minute: int, clock: Callable[[], float]) -> None:
        self.unit = unit
        self.limit = per_minute
        self._each_s = MINUTE_S / per_minute
        self._clock = clock
        self._full_at = clock()  # when nothing will be spent any more

    @property
    def reset_s(self) -> float:
        """Seconds until all is there again."""
        return max(0.0, self._full_at - self._clock())

    @property
    def remaining(self) -> int:
        """What may be taken now."""
        return max(0, int((MINUTE_S - self.reset_s) / self._each_s + 1e-6))

    def take(self, count: int) -> None:
        """Spend so many. What is more than a minute's worth may go where nothing is spent.

        Raises:
            AskRefusedError: they are not there now; says when they will be.
        """
        now = self._clock()
        spent_s = max(0.0, self._full_at - now)
        wait_s = spent_s + min(count * self._each_s, MINUTE_S) - MINUTE_S
        if wait_s > 1e-6:
            raise AskRefusedError(
                "rate_limited", f"this key has {self.limit} {self.unit} a minute", retry_after_s=max(1.0, wait_s)
            )
        self._full_at = now + spent_s + count * self._each_s


class Rates:
    """The limits of one caller; None for no limit.

    Args:
        requests: a minute.
        tokens: a minute, estimated.
        clock: seconds, monotonic.
    """

    def __init__(self, requests: int | None, tokens: int | None, clock: Callable[[], float]) -> None:
        self._requests = None if requests is None else Rate("requests", requests, clock)
        self._tokens = None if tokens is None else Rate("tokens", tokens, clock)

    def take_request(self) -> None:
        """Spend a request; see `Rate.take`."""
        if self._requests is not None:
            self._requests.take(1)

    def take_tokens(self, count: int) -> None:
        """Spend tokens; see `Rate.take`."""
        if self._tokens is not None and count:
            self._tokens.take(count)

    def headers(self) -> dict[str, str]:
        """What is left, in the usual headers."""
        told = {}
        for rate in (self._requests, self._tokens):
            if rate is not None:
                told[f"x-ratelimit-limit-{rate.unit}"] = str(rate.limit)
                told[f"x-ratelimit-remaining-{rate.unit}"] = str(rate.remaining)
                told[f"x-ratelimit-reset-{rate.unit}"] = f"{ceil(rate.reset_s)}s"
        return told
