"""Gets the requests of a batch their answers, the same in every lane.

`Judge` gets every request of a chunk an answer: it holds while the guard is down, and splits a call that raised in two
until the culprit is alone (P6), which is then `pipelines.isolation`'s to blame or not.
All lanes ask with `ask_batch`; those that wait for a batch are in `pipelines.lanes.batch`.
Knows nothing of where records come from or what becomes of rulings.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Protocol

from pipelines.backoff import Backoff
from pipelines.guard import Guard, GuardReply, GuardRequest, Judged
from pipelines.isolation import Isolation, Sleep
from pipelines.moderation import Admitted, is_mixed
from schemas.errors import GuardCallFailedError, GuardCrashError, GuardUnavailableError
from schemas.verdict import Provenance


class RequestJudge(Protocol):
    """Gets every request a result: `pipelines.judging.Judge`, or what asks one about fewer of them."""

    async def judge(self, requests: Sequence[GuardRequest]) -> list[Judged]:
        """One result per request, in their order."""
        ...


async def ask_batch(batch: Sequence[Admitted], judge: RequestJudge) -> list[list[Judged]]:
    """The results of each record's requests. A record whose windows two models judged is asked about again."""
    answers = await _ask(batch, judge)
    while mixed := [index for index, judged in enumerate(answers) if is_mixed(judged)]:
        again = await _ask([batch[index] for index in mixed], judge)
        for index, judged in zip(mixed, again, strict=True):
            answers[index] = judged
    return answers


async def _ask(batch: Sequence[Admitted], judge: RequestJudge) -> list[list[Judged]]:
    judged = iter(await judge.judge([request for item in batch for request in item.requests]))
    return [list(islice(judged, len(item.requests))) for item in batch]


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
        self._max_crashes = max_crashes
        self._new_backoff = new_backoff
        self._sleep = sleep
        self._held = held
        self._isolation = Isolation(self._call, max_attempts, max_crashes, held, sleep)
        self.calls: Counter[str] = Counter()
        self.provenance: Provenance | None = None

    async def judge(self, requests: Sequence[GuardRequest]) -> list[Judged]:
        """Judge a chunk; returns one result per request, in their order. Holds as long as the guard is down."""
        return await self._judge(requests, self._max_crashes) if requests else []

    async def _judge(self, requests: Sequence[GuardRequest], tries: int) -> list[Judged]:
        """Judge requests in one call; in halves once a call has raised or `tries` replicas have died of it."""
        backoff = self._new_backoff()
        crashes = 0
        while crashes < tries:
            try:
                reply = await self._call(requests, backoff)
            except (GuardCrashError, GuardCallFailedError) as error:
                if len(requests) == 1:
                    return [await self._isolation.judge(requests[0], error, backoff)]
                if isinstance(error, GuardCallFailedError):
                    break
                crashes += 1
                await self._sleep(backoff.next_wait_s())
            else:
                return [Judged(answer, reply.provenance, 1) for answer in reply.answers]
        # One half holds the culprit: each further death only tells which, and costs the start of a replica.
        tries = 1 if crashes else tries
        middle = len(requests) // 2
        return await self._judge(requests[:middle], tries) + await self._judge(requests[middle:], tries)

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
