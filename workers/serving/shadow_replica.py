"""One replica of `ShadowGuard`: a guard replica of the shadow lane's candidate, whose troubles stay its own.

A plain class, of which `workers.serving.app` makes the deployment. The model loads after the constructor has returned:
otherwise a candidate that cannot be loaded would keep the whole application, live traffic included, from being
deployed.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from pipelines.guard import GuardReply, GuardRequest
from schemas.errors import GuardUnavailableError
from workers.serving.guard_replica import GuardReplica
from workers.settings.loading import Settings
from workers.telemetry.log import log_event

log = logging.getLogger(__name__)


class ShadowReplica:
    """Judges with the candidate's model once that is loaded.

    Args:
        settings: the candidate's.
        load: makes the replica; without telemetry of its own, which would mix with that of the live guard.
    """

    def __init__(self, settings: Settings, load: Callable[..., GuardReplica] = GuardReplica) -> None:
        executor = ThreadPoolExecutor(1, "weir-shadow-load")
        self._loading: Future[GuardReplica] = executor.submit(load, settings, has_telemetry=False)
        self._loading.add_done_callback(_tell)
        executor.shutdown(wait=False)

    async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply | None:
        """See `pipelines.guard.Guard`.

        Raises:
            GuardUnavailableError: the model is still loading, or could not be loaded.
        """
        if not self._loading.done() or self._loading.exception() is not None:
            raise GuardUnavailableError("the candidate's model is not loaded")
        return await self._loading.result().judge(requests)

    async def check_health(self) -> None:
        """Serve's health check; a candidate that could not be loaded would not load in another replica either.

        Raises:
            RuntimeError: see `GuardReplica`.
        """
        if self._loading.done() and self._loading.exception() is None:
            await self._loading.result().check_health()


def _tell(loading: "Future[GuardReplica]") -> None:
    if (error := loading.exception()) is not None:
        log.error(log_event("shadow_model_failed", error=type(error).__name__))
