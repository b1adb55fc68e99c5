"""The way to the stream guard's replicas over a Ray Serve handle.

A conversation's pushes go to the same replica as long as there is that one: Serve's router hashes the shard. A replica
that is new, or not the one, knows nothing of the turn and says so, which costs a replay and nothing else.
"""

from collections.abc import Sequence
from typing import Any, Final

from pipelines.turns.port import PushReply, TurnPush
from workers.guard.client import answer_of_call

ROUTER: Final = "ray.serve.experimental.consistent_hash_router:ConsistentHashRouter"


class TurnClient:
    """A `pipelines.turns.port.TurnJudge`.

    Args:
        handle: Serve handle of the deployment, whose router is `ROUTER`.
        timeout_s: a call that takes longer is cancelled and counts as unavailable.
    """

    def __init__(self, handle: Any, timeout_s: float) -> None:
        self._handle = handle
        self._timeout_s = timeout_s
        self._by_shard: dict[int, Any] = {}

    async def push(self, pushes: Sequence[TurnPush]) -> PushReply:
        """See `pipelines.turns.port.TurnJudge`; the pushes of one call are of one shard."""
        shard = pushes[0].key.shard
        handle = self._by_shard.get(shard)
        if handle is None:
            handle = self._by_shard[shard] = self._handle.options(session_id=f"shard-{shard}")
        reply: PushReply = await answer_of_call(handle.push.remote(list(pushes)), self._timeout_s)
        return reply
