"""Whether a worker is stuck (P12): its loop does not turn, or nothing of what is in flight is completed.

How long is too long is learnt: a worker whose records complete within milliseconds is stuck long before one whose
records take a minute. Waiting for a guard or broker that is known to be down is not being stuck (P5).
Does not act on the answer.
"""

from workers.stream.progress import Progress

FLOOR_S = 10.0  # pauses of a busy machine are no reason to replace a worker


def stuck_reason(
    progress: Progress, now: float, timeout_s: float, in_flight: int, factor: float = float("inf")
) -> str | None:
    """Why a worker counts as stuck, or None.

    Args:
        progress: its last signs of life.
        now: seconds, by the same clock.
        timeout_s: longest time without a sign of life.
        in_flight: records in flight.
        factor: this many times the longest recent wait for a completed record is too long as well, from 10 s on.
    """
    if now - progress.beat_at > timeout_s:
        return f"the loop has not turned for {now - progress.beat_at:.0f} s"
    if progress.usual_s is not None:
        timeout_s = min(timeout_s, max(FLOOR_S, factor * progress.usual_s))
    if in_flight and now - max(progress.advanced_at, progress.held_at) > timeout_s:
        return f"{in_flight} records in flight and none completed for {now - progress.advanced_at:.0f} s"
    return None
