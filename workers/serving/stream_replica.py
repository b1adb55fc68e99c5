"""One replica of the `StreamWorker` deployment: a stream worker beside Serve's event loop.

A plain class, of which `workers.serving.app` makes the deployment. The only file that joins serving and stream.
"""

import asyncio
import faulthandler
import logging
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stderr
from typing import Any

from ray import serve

from pipelines.breaker.alarms import BreakerView
from schemas.record import Partition
from workers.guard.client import GuardClient
from workers.guard.names import ARRIVALS, BACKLOG, COMPLETIONS
from workers.serving.backlog_policy import ALL_PARTITIONS, OLDEST_AGE, PARTITIONS
from workers.serving.process_tuning import tune_process
from workers.settings.loading import Settings, otel_variables
from workers.stream.build import shadow_lane, stream_worker
from workers.telemetry.export import start_metrics, start_tracing
from workers.telemetry.log import configure_logging, log_event

log = logging.getLogger(__name__)
STOP_MARGIN_S = 3.0
SHADOW_STOP_S = 1.0


class StreamReplica:
    """Consumes until Serve stops it, or until Serve has forgotten it.

    Args:
        settings: all settings.
        guard: Serve handle of `GuardDeployment`.
        candidate: the same of `ShadowGuard`, where the shadow lane has a model of its own.
        ask: the same of `Ask`; not called, but Serve deploys what the application is bound to.
        deltas: the same of `DeltaWorker`.
    """

    # Serve awaits the constructor on its event loop, which is what gives us the loop.
    async def __init__(  # type: ignore[misc]
        self,
        settings: Settings,
        guard: Any,
        candidate: Any = None,
        ask: Any = None,  # noqa: ARG002
        deltas: Any = None,  # noqa: ARG002
    ) -> None:
        with redirect_stderr(sys.__stderr__):  # Serve's stand-in for it writes to a file that nobody collects
            configure_logging(settings.telemetry.log_level)
        tune_process()
        self._settings = settings = of_this_replica(settings)
        self._tracing = start_tracing(settings.telemetry, "weir-stream", otel_variables())
        self._metrics = start_metrics("weir-stream", otel_variables())
        client = GuardClient(guard, settings.delivery.call_timeout_s)
        loop = asyncio.get_running_loop()
        shadow_client = None if candidate is None else GuardClient(candidate, settings.shadow.timeout_s)
        self._shadow = shadow_lane(settings, shadow_client, loop)
        self._worker = stream_worker(settings, client, loop, self._tracing, self._shadow)
        self._breaker = self._worker.breaker
        self._last_check = time.monotonic()
        self._worker.start()
        if self._shadow is not None:
            self._shadow.start()
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
        # Not raised: Serve would replace the replica, and the replacement would begin closed (decision 0009).
        if (reason := self._breaker.reason) is not None:
            log.error(log_event("worker_red", reason=reason))

    async def breaker_view(self) -> tuple[str, BreakerView]:
        """This replica's id, and its breaker now."""
        return serve.get_replica_context().replica_id.unique_id, self._breaker.view(time.monotonic())

    async def reset_breaker(self) -> tuple[str, BreakerView]:
        """Close the breaker; returns what `breaker_view` would have said before."""
        before = await self.breaker_view()
        if (alarm := self._breaker.reset()) is not None:
            log.warning(log_event("breaker_reset", cause=alarm.cause))
        return before

    async def spans_about(self, traces: Sequence[str]) -> list[str]:
        """Recent spans of these traces; see `workers.telemetry.export.RecentSpans`."""
        return await asyncio.to_thread(self._tracing.spans_about, traces)

    async def give_up(self, topic: str, partition: int) -> tuple[int, int] | None:
        """Give up the unreadable batch that a partition waits for; see `UnreadablePartitions.give_up`."""
        return self._worker.give_up(Partition(topic, partition))

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Figures for `workers.serving.backlog_policy`, without those that are missing; Serve asks every so often."""
        known = self._worker.backlog.figures()
        if known is None:
            return {}
        figures = {
            BACKLOG: known.records,
            OLDEST_AGE: known.oldest_age_s,
            ARRIVALS: known.arrival_rate,
            COMPLETIONS: known.completion_rate,
            PARTITIONS: known.partitions,
            ALL_PARTITIONS: known.all_partitions,
        }
        return {name: float(value) for name, value in figures.items() if value is not None}

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
        if self._shadow is not None:
            await asyncio.to_thread(self._shadow.stop, SHADOW_STOP_S)
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


def of_this_replica(settings: Settings) -> Settings:
    """With static membership, a name of its own for each consumer: its rank, which a replacement takes over."""
    name = settings.kafka.group_instance_id
    if name is None:
        return settings
    kafka = settings.kafka.model_copy(update={"group_instance_id": f"{name}-{serve.get_replica_context().rank.rank}"})
    return settings.model_copy(update={"kafka": kafka})
