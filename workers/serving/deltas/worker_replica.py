"""One replica of the `DeltaWorker` deployment: a delta worker beside Serve's event loop.

A plain class, of which `workers.serving.app` makes the deployment.
"""

import asyncio
import faulthandler
import logging
import sys
import time
from contextlib import redirect_stderr
from typing import Any

from workers.deltas.build import delta_worker
from workers.guard.turn_client import TurnClient
from workers.serving.process_tuning import tune_process
from workers.serving.stream_replica import STOP_MARGIN_S, of_this_replica
from workers.settings.loading import Settings, otel_variables
from workers.telemetry.export import start_metrics, start_tracing
from workers.telemetry.log import configure_logging, log_event

log = logging.getLogger(__name__)


class DeltaReplica:
    """Consumes until Serve stops it, or until Serve has forgotten it.

    Args:
        settings: all settings.
        guard: Serve handle of `StreamGuard`.
    """

    # Serve awaits the constructor on its event loop, which is what gives us the loop.
    async def __init__(self, settings: Settings, guard: Any) -> None:  # type: ignore[misc]
        with redirect_stderr(sys.__stderr__):  # Serve's stand-in for it writes to a file that nobody collects
            configure_logging(settings.telemetry.log_level)
        tune_process()
        self._settings = settings = of_this_replica(settings)
        self._tracing = start_tracing(settings.telemetry, "weir-deltas", otel_variables())
        self._metrics = start_metrics("weir-deltas", otel_variables())
        client = TurnClient(guard, settings.delivery.call_timeout_s)
        self._worker = delta_worker(settings, client, asyncio.get_running_loop(), self._tracing)
        self._last_check = time.monotonic()
        self._worker.start()
        self._dead_man = asyncio.create_task(self._watch())

    async def check_health(self) -> None:
        """Serve's health check (P12).

        Raises:
            RuntimeError: says why the worker is stuck; the stacks of all threads are on stderr.
        """
        self._last_check = time.monotonic()
        reason = self._worker.stuck_reason()
        if reason is not None:
            log.error(log_event("worker_stuck", reason=reason))
            faulthandler.dump_traceback(sys.stderr)
            raise RuntimeError(reason)

    async def completed(self) -> int:
        """Records completed since the start."""
        return self._worker.progress.completed

    async def __del__(self) -> None:
        """Serve awaits this on a clean stop: finish what is under way, commit, leave the group."""
        self._dead_man.cancel()
        await self._stop()

    async def _stop(self) -> None:
        timeout_s = self._settings.delivery.drain_timeout_s + STOP_MARGIN_S
        stopped = await asyncio.to_thread(self._worker.stop, timeout_s)
        log.info(log_event("replica_stopped", drained=stopped))
        self._tracing.flush()
        self._metrics.flush()

    async def _watch(self) -> None:
        """Dead-man timer: a replica that Serve has lost must not consume beside its replacement."""
        limit = self._settings.health.dead_man_s
        while time.monotonic() - self._last_check < limit:
            await asyncio.sleep(limit / 10)
        log.error(log_event("dead_man", seconds_without_health_check=limit))
        await self._stop()
