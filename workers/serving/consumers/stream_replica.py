"""One replica of the `StreamWorker` deployment: a stream worker beside Serve's event loop.

A plain class, of which `workers.serving.app` makes the deployment.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

from ray import serve

from pipelines.breaker.alarms import BreakerView
from schemas.record import Partition
from workers.guard.client import GuardClient
from workers.guard.names import ARRIVALS, BACKLOG, COMPLETIONS
from workers.serving.backlog_policy import ALL_PARTITIONS, OLDEST_AGE, PARTITIONS
from workers.serving.consumers.consumer_replica import ConsumerReplica
from workers.settings.loading import Settings
from workers.stream.build import shadow_lane, stream_worker
from workers.telemetry.log import log_event

log = logging.getLogger(__name__)
SHADOW_STOP_S = 1.0


class StreamReplica(ConsumerReplica):
    """Moderates chat events.

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
        super().__init__(settings, "weir-stream")
        settings, loop = self._settings, asyncio.get_running_loop()
        client = GuardClient(guard, settings.delivery.call_timeout_s)
        shadow_client = None if candidate is None else GuardClient(candidate, settings.shadow.timeout_s)
        self._shadow = shadow_lane(settings, shadow_client, loop)
        self._worker = stream_worker(settings, client, loop, self._tracing, self._shadow)
        self._breaker = self._worker.breaker
        self._start()
        if self._shadow is not None:
            self._shadow.start()

    async def check_health(self) -> None:
        """Serve's health check (P12), which also says that the breaker is open."""
        await super().check_health()
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

    async def _stop_beside(self) -> None:
        if self._shadow is not None:
            await asyncio.to_thread(self._shadow.stop, SHADOW_STOP_S)
