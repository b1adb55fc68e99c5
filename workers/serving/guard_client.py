"""The guard port over a Ray Serve handle: sends a chunk in one call and sorts every error by what it means.

The only place that names Ray's errors for a call; `infra/decisions/0003` says how they were found out.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError, WorkerCrashedError
from ray.serve.exceptions import RayServeException

from pipelines.guard import GuardReply, GuardRequest
from schemas.errors import GuardCallFailedError, GuardCrashError, GuardUnavailableError


class GuardClient:
    """Calls `GuardDeployment`.

    Args:
        handle: Serve handle of the deployment.
        timeout_s: a call that takes longer is cancelled and counts as unavailable.
    """

    def __init__(self, handle: Any, timeout_s: float) -> None:
        self._handle = handle
        self._timeout_s = timeout_s

    async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply:
        """See `pipelines.guard.Guard`."""
        response = self._handle.judge.remote(list(requests))
        try:
            reply: GuardReply = await asyncio.wait_for(_wait(response), self._timeout_s)
        except RayTaskError as error:
            # First, because it is also an instance of what our own code raised in the replica, TimeoutError included.
            # Its text may quote input, so only the class is kept.
            raise GuardCallFailedError(type(error.cause).__name__) from None
        except (RayActorError, OutOfMemoryError, WorkerCrashedError) as error:
            raise GuardCrashError(type(error).__name__) from None
        except (RayError, RayServeException) as error:
            raise GuardUnavailableError(type(error).__name__) from None
        except TimeoutError:
            response.cancel()
            raise GuardUnavailableError(f"no answer within {self._timeout_s} s") from None
        except asyncio.CancelledError:
            # Cancelling the wait alone would leave the replica's slot taken.
            response.cancel()
            raise
        return reply


async def _wait(response: Any) -> Any:
    return await response
