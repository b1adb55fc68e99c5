"""Gets every request of a chunk an answer: holds while the guard is down, isolates a record that breaks a call.

A call that raised is split in two until the culprit is alone (P6). A record that fails alone is blamed only if a
known-good conversation passes at the same time; otherwise the guard is broken, not the record (P5).
Does not read the answers.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext

from pipelines.backoff import Backoff
from pipelines.guard import Guard, GuardReply, GuardRequest, Judged
from schemas.errors import GuardCallFailedError, GuardCrashError, GuardUnavailableError, ItemError
from schemas.reasons import Reason
from schemas.verdict import Provenance

PROBE = GuardRequest(({"role": "user", "content": "hello"},), 1, {})
Sleep = Callable[[float], Awaitable[None]]


class Judge:
    """Calls a guard until each request has an outcome of its own.

    Args:
        guard: the port.
        max_attempts: tries of a request that raises alone.
        max_crashes: replica deaths, first of a chunk before it is split, then of a request alone.
        new_backoff: makes the waits of one chunk.
        held: called whenever the guard is what holds requests up.
        sleep: waits that many seconds; a test may pass its own.

    Attributes:
        calls: of the guard, by what became of them: `answered`, `unavailable`, `crashed`, `failed`.
        provenance: what answered last; None before.
    """

    def __init__(
        self,
        guard: Guard,
        *,
        max_attempts: int,
        max_crashes: int,
        new_backoff: Callable[[], Backoff],
        held: Callable[[], None] = lambda: None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._guard = guard
        self._max_attempts = max_attempts
        self._max_crashes = max_crashes
        self._new_backoff = new_backoff
        self._sleep = sleep
        self._suspects = asyncio.Lock()
        self._held = held
        self.calls: Counter[str] = Counter()
        self.provenance: Provenance | None = None

    async def judge(self, requests: Sequence[GuardRequest]) -> list[Judged]:
        """Judge a chunk; returns one result per request, in their order. Holds as long as the guard is down."""
        return await self._judge(requests, self._max_crashes) if requests else []

    async def _judge(self, requests: Sequence[GuardRequest], tries: int) -> list[Judged]:
        """Judge requests in one call; in halves once a call has raised or `tries` replicas have died of it."""
        if len(requests) == 1:
            return [await self._judge_alone(requests[0])]
        backoff = self._new_backoff()
        crashes = 0
        while crashes < tries:
            try:
                reply = await self._call(requests, backoff)
            except GuardCrashError:
                crashes += 1
                await self._sleep(backoff.next_wait_s())
            except GuardCallFailedError:
                break
            else:
                return [Judged(answer, reply.provenance, 1) for answer in reply.answers]
        # One half holds the culprit: each further death only tells which, and costs the start of a replica.
        tries = 1 if crashes else tries
        middle = len(requests) // 2
        return await self._judge(requests[:middle], tries) + await self._judge(requests[middle:], tries)

    async def _judge_alone(self, request: GuardRequest) -> Judged:
        backoff = self._new_backoff()
        failures = crashes = 0
        suspected = False
        while True:
            # All calls on a dying replica see its death. So after the first one this request waits for its turn among
            # those that are suspected too, and only a death in its own turn is counted.
            async with self._suspects if suspected else nullcontext():
                try:
                    reply = await self._call([request], backoff)
                except (GuardCrashError, GuardCallFailedError) as error:
                    crashed = isinstance(error, GuardCrashError)
                else:
                    return Judged(reply.answers[0], reply.provenance, failures + crashes + 1)
                await self._sleep(backoff.next_wait_s())
                try:
                    probe = await self._call([PROBE], backoff)
                except (GuardCrashError, GuardCallFailedError):
                    self._held()
                    continue
            if crashed and not suspected:
                suspected = True
                continue
            crashes += crashed
            failures += not crashed
            if crashes >= self._max_crashes:
                crash = ItemError(Reason.REPLICA_CRASH, f"alone in its call, the replica died {crashes} times")
                return Judged(crash, probe.provenance, failures + crashes)
            if failures >= self._max_attempts:
                failure = ItemError(Reason.INFERENCE_FAILED, f"alone in its call, it raised {failures} times")
                return Judged(failure, probe.provenance, failures + crashes)

    async def _call(self, requests: Sequence[GuardRequest], backoff: Backoff) -> GuardReply:
        while True:
            try:
                reply = await self._guard.judge(requests)
            except GuardCrashError:
                self.calls["crashed"] += 1
                raise
            except GuardCallFailedError:
                self.calls["failed"] += 1
                raise
            except GuardUnavailableError:
                self.calls["unavailable"] += 1
                self._held()
                await self._sleep(backoff.next_wait_s())
                continue
            self.calls["answered"] += 1
            self.provenance = reply.provenance
            if len(reply.answers) != len(requests):
                # A reply of another length cannot be bound to its requests: no answer of it may be used.
                raise GuardCallFailedError(f"{len(reply.answers)} answers to {len(requests)} requests")
            return reply
