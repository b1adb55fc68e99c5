"""The guard port over a Ray Serve handle: sends a chunk in one call and sorts every error by what it means.

The only module that names Ray's errors of a call; decision 0003 says who is blamed for which.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError, WorkerCrashedError
from ray.serve.exceptions import RayServeException

from pipelines.backoff import Backoff
from pipelines.guard import Chunk, GuardReply, GuardRequest
from schemas.errors import GuardCallFailedError, GuardCrashError, GuardUnavailableError
from workers.guard.lane import Lane

# Of one client under way at a time, so that they cannot fill a replica's queue, which has 512 places.
BACKGROUND_CALLS = 4
ASK_CALLS = 256
# Before a call is sent again that a replica has turned away: Serve may choose the same one.
AGAIN_S, MOST_AGAIN_S = 0.05, 1.0


class GuardClient:
    """Calls `GuardDeployment`.

    Args:
        handle: Serve handle of the deployment.
        timeout_s: a call that takes longer is cancelled and counts as unavailable. One that a replica turns away is
            sent again, until it has taken as long.
        lane: whose turn its calls are. A background call may wait until its time-out again and again. Of those that
            are not live so many are under way at a time, and the others wait here.
    """

    def __init__(self, handle: Any, timeout_s: float, *, lane: Lane = Lane.LIVE) -> None:
        self._handle = handle
        self._timeout_s = timeout_s
        self._lane = lane
        self._slots = asyncio.Semaphore(ASK_CALLS if lane is Lane.ASK else BACKGROUND_CALLS)

    async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply:
        """See `pipelines.guard.Guard`."""
        if self._lane is Lane.LIVE:
            return await self._ask(self._handle.judge, requests)
        async with self._slots:
            ask = self._lane is Lane.ASK
            return await self._ask(self._handle.judge_ask if ask else self._handle.judge_background, requests)

    async def _ask(self, method: Any, requests: Sequence[GuardRequest]) -> GuardReply:
        clock = asyncio.get_running_loop().time
        until = clock() + self._timeout_s
        waits = Backoff(AGAIN_S, MOST_AGAIN_S)
        left_s = self._timeout_s
        while left_s > 0:
            reply: GuardReply | None = await answer_of_call(method.remote(Chunk(requests)), left_s)
            if reply is not None:
                return reply
            await asyncio.sleep(waits.next_wait_s())
            left_s = until - clock()
        raise GuardUnavailableError(f"turned away for {self._timeout_s} s")


async def answer_of_call(response: Any, timeout_s: float) -> Any:
    """What a replica answers to a call of a handle.

    Args:
        response: what the handle's method returned.
        timeout_s: a call that takes longer is cancelled.

    Raises:
        GuardUnavailableError: nothing answered; says nothing about what was sent.
        GuardCrashError: the replica died while it ran this call.
        GuardCallFailedError: the call raised in the replica's code; names the kind of its error.
    """
    try:
        return await asyncio.wait_for(_wait(response), timeout_s)
    except RayTaskError as error:
        # First, because it is also an instance of what our own code raised in the replica, TimeoutError included.
        # Its text may quote input, so only the class is kept; the replica's own word for it has that already.
        if isinstance(error.cause, GuardUnavailableError | GuardCrashError):  # the replica's own words, too
            raise type(error.cause)(str(error.cause)) from None
        failed = isinstance(error.cause, GuardCallFailedError)
        raise GuardCallFailedError(str(error.cause) if failed else type(error.cause).__name__) from None
    except (RayActorError, OutOfMemoryError, WorkerCrashedError) as error:
        raise GuardCrashError(type(error).__name__) from None
    except (RayError, RayServeException) as error:
        raise GuardUnavailableError(type(error).__name__) from None
    except TimeoutError:
        response.cancel()
        raise GuardUnavailableError(f"no answer within {timeout_s:g} s") from None
    except asyncio.CancelledError:
        # Cancelling the wait alone would leave the replica's slot taken.
        response.cancel()
        raise


async def _wait(response: Any) -> Any:
    return await response
