"""Gets every push of a call its answer: holds while the guard is down, and finds the push that breaks a call.

As `pipelines.judging` does for whole messages. Knows nothing of what becomes of answers.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from pipelines.backoff import Backoff
from pipelines.turns.port import PushAnswer, PushError, PushReply, TurnJudge, TurnPush
from schemas.errors import GuardCallFailedError, GuardCrashError, GuardUnavailableError
from schemas.turns.verdict import StreamProvenance


class Answered(NamedTuple):
    """What came of one push, and what judged it; None where nothing did."""

    answer: PushAnswer
    by: StreamProvenance | None


class TurnAsker:
    """Calls a judge until each push has an answer of its own.

    Args:
        judge: the port.
        new_backoff: makes the waits of one call.
        held: called whenever the guard is what holds pushes up.
        sleep: waits that many seconds; a test may pass its own.

    Attributes:
        calls: by what became of them: `answered`, `unavailable`, `crashed`, `failed`.
    """

    def __init__(
        self,
        judge: TurnJudge,
        new_backoff: Callable[[], Backoff],
        held: Callable[[], None] = lambda: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._judge = judge
        self._new_backoff = new_backoff
        self._held = held
        self._sleep = sleep
        self.calls: Counter[str] = Counter()

    async def ask(self, pushes: Sequence[TurnPush]) -> list[Answered]:
        """One answer per push, in their order; one that breaks its call alone has the error that says so."""
        if not pushes:
            return []
        try:
            reply = await self._answered(pushes)
        except (GuardCrashError, GuardCallFailedError) as error:
            if len(pushes) == 1:
                kind: PushError = "replica_crash" if isinstance(error, GuardCrashError) else "inference_failed"
                return [Answered(PushAnswer((), kind), None)]
        else:
            return [Answered(answer, reply.provenance) for answer in reply.answers]
        middle = len(pushes) // 2
        return await self.ask(pushes[:middle]) + await self.ask(pushes[middle:])

    async def _answered(self, pushes: Sequence[TurnPush]) -> PushReply:
        backoff = self._new_backoff()
        crashes = 0
        while True:
            try:
                reply = await self._judge.push(pushes)
            except GuardUnavailableError:
                self.calls["unavailable"] += 1
            except GuardCrashError:
                # Most replicas that die do so for reasons of their own: the next one is asked before anyone is blamed.
                self.calls["crashed"] += 1
                crashes += 1
                if crashes > 1:
                    raise
            except GuardCallFailedError:
                self.calls["failed"] += 1
                raise
            else:
                self.calls["answered"] += 1
                if len(reply.answers) != len(pushes):
                    raise GuardCallFailedError(f"{len(reply.answers)} answers to {len(pushes)} pushes")
                return reply
            self._held()
            await self._sleep(backoff.next_wait_s())
