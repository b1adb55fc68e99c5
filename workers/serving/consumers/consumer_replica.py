"""What replicas that consume from Kafka have in common: one worker, whose health Serve asks about.

Knows nothing of what the worker does with its records.
"""

import asyncio
import faulthandler
import logging
import sys
import time
from contextlib import redirect_stderr
from typing import Final

from ray import serve

from workers.serving.process_tuning import tune_process
from workers.settings.loading import Settings, otel_variables
from workers.stream.worker import StreamWorker
from workers.telemetry.export import start_metrics, start_tracing
from workers.telemetry.log import configure_logging, log_event

log = logging.getLogger(__name__)
STOP_MARGIN_S: Final = 3.0


class ConsumerReplica:
    """Consumes until Serve stops it, or until Serve has forgotten it.

    A subclass builds the worker in a constructor that Serve awaits on its event loop, and starts it last.

    Args:
        settings: all settings.
        service: name of this process in its spans and metrics.
    """

    _worker: StreamWorker

    def __init__(self, settings: Settings, service: str) -> None:
        with redirect_stderr(sys.__stderr__):  # Serve's stand-in for it writes to a file that nobody collects
            configure_logging(settings.telemetry.log_level)
        tune_process()
        self._settings = _of_this_replica(settings)
        self._tracing = start_tracing(settings.telemetry, service, otel_variables())
        self._metrics = start_metrics(service, otel_variables())

    def _start(self) -> None:
        """Start the worker and the dead-man timer; on the event loop."""
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
        """Serve awaits this on a clean stop: drain, commit, leave the group."""
        self._dead_man.cancel()
        await self._stop()

    async def _stop(self) -> None:
        timeout_s = self._settings.delivery.drain_timeout_s + STOP_MARGIN_S
        stopped = await asyncio.to_thread(self._worker.stop, timeout_s)
        await self._stop_beside()
        log.info(log_event("replica_stopped", drained=stopped))
        self._tracing.flush()
        self._metrics.flush()

    async def _stop_beside(self) -> None:
        """Stop what else runs here; the worker has stopped."""

    async def _watch(self) -> None:
        """Dead-man timer: a replica that Serve has lost must not consume beside its replacement."""
        limit = self._settings.health.dead_man_s
        while time.monotonic() - self._last_check < limit:
            await asyncio.sleep(limit / 10)
        log.error(log_event("dead_man", seconds_without_health_check=limit))
        await self._stop()


def _of_this_replica(settings: Settings) -> Settings:
    """With static membership, a name of its own for each consumer: its rank, which a replacement takes over."""
    name = settings.kafka.group_instance_id
    if name is None:
        return settings
    kafka = settings.kafka.model_copy(update={"group_instance_id": f"{name}-{serve.get_replica_context().rank.rank}"})
    return settings.model_copy(update={"kafka": kafka})
