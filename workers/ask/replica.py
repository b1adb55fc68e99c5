"""One replica of the `Ask` deployment: an HTTP server beside Serve's event loop.

A plain class, of which `workers.serving.app` makes the deployment. Serve's own proxy is not used: decision 0020.
"""

import sys
from contextlib import redirect_stderr
from typing import Any

from workers.ask.lane import AskLane
from workers.guard.client import GuardClient
from workers.guard.lane import Lane
from workers.guard.names import ARRIVALS, BACKLOG, COMPLETIONS
from workers.guard.turn_client import TurnClient
from workers.settings.loading import Settings, otel_variables
from workers.telemetry.export import start_metrics, start_tracing
from workers.telemetry.log import configure_logging


class AskReplica:
    """Answers until Serve stops it.

    Args:
        settings: all settings.
        guard: Serve handle of `GuardDeployment`; None where whole messages are not judged.
        turns: the same of `StreamGuard`, where answers are judged while they are written.
    """

    # Serve awaits the constructor on its event loop, which is what gives us the loop.
    async def __init__(self, settings: Settings, guard: Any, turns: Any = None) -> None:  # type: ignore[misc]
        with redirect_stderr(sys.__stderr__):  # Serve's stand-in for it writes to a file that nobody collects
            configure_logging(settings.telemetry.log_level)
        self._tracing = start_tracing(settings.telemetry, "weir-ask", otel_variables())
        self._metrics = start_metrics("weir-ask", otel_variables())
        client = None if guard is None else GuardClient(guard, settings.ask.deadline_s, lane=Lane.ASK)
        # A turn that is judged again as a whole may take longer than any request waits.
        judge = None if turns is None else TurnClient(turns, settings.delivery.call_timeout_s)
        self._lane = AskLane(settings, client, self._tracing, judge)
        await self._lane.start()

    async def check_health(self) -> None:
        """Serve's health check.

        Raises:
            RuntimeError: nothing listens any more.
        """
        if self._lane.has_failed:
            raise RuntimeError("the HTTP server has ended")

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Figures for `workers.serving.backlog_policy`; Serve asks every so often."""
        known = self._lane.demand.figures()
        return {} if known is None else dict(zip((BACKLOG, ARRIVALS, COMPLETIONS), map(float, known), strict=True))

    async def __del__(self) -> None:
        """Serve awaits this on a clean stop."""
        await self._lane.stop()
        self._tracing.flush()
        self._metrics.flush()
