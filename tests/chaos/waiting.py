"""Waiting for a condition, with a bound that a busy machine does not break and a name for what did not come."""

from __future__ import annotations

import time
from collections.abc import Callable

WAIT_S = 60.0
STEP_S = 0.05


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> float:
    """Poll a condition; returns how many seconds it took. Fails with `what`."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < timeout_s, f"waited {timeout_s:.0f} s for: {what}"
        time.sleep(STEP_S)
    return time.monotonic() - started
