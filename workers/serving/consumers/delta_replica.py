"""One replica of the `DeltaWorker` deployment: a delta worker beside Serve's event loop.

A plain class, of which `workers.serving.app` makes the deployment.
"""

import asyncio
from typing import Any

from workers.deltas.build import delta_worker
from workers.guard.turn_client import TurnClient
from workers.serving.consumers.consumer_replica import ConsumerReplica
from workers.settings.loading import Settings


class DeltaReplica(ConsumerReplica):
    """Has turns judged while they are written.

    Args:
        settings: all settings.
        guard: Serve handle of `StreamGuard`.
        ask: the same of `Ask`; not called, but Serve deploys what the application is bound to.
    """

    # Serve awaits the constructor on its event loop, which is what gives us the loop.
    async def __init__(self, settings: Settings, guard: Any, ask: Any = None) -> None:  # type: ignore[misc] # noqa: ARG002
        super().__init__(settings, "weir-deltas")
        client = TurnClient(guard, settings.delivery.call_timeout_s)
        self._worker = delta_worker(self._settings, client, asyncio.get_running_loop(), self._tracing)
        self._start()
