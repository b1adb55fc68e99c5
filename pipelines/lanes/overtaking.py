"""Whether a call of the guard hangs alone: it takes longer than its requests would one by one, as a probe shows.

Such a call holds all of its records, so they are asked about again, apart and once. Where the guard as a whole is slow
or down, the probe is as slow, and nothing is asked about twice.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from itertools import groupby
from operator import attrgetter
from typing import Any, Protocol, TypeVar

from pipelines.guard import Judged
from pipelines.isolation import PROBE
from pipelines.judging import RequestJudge, ask_batch
from pipelines.moderation import Admitted

PROBE_AFTER_S = 1.0
APART_S = 0.2
Answers = list[list[Judged]]


class Asked(Protocol):
    """A record in a call of the guard."""

    @property
    def partition(self) -> object: ...

    @property
    def admitted(self) -> Admitted | None: ...


Item = TypeVar("Item", bound=Asked)


class Overtaken:
    """A call that was overtaken. It stays under way, or its replica would look idle and be asked again."""

    def __init__(self, call: "asyncio.Future[Answers]", judge: RequestJudge) -> None:
        self._call = call
        self._judge = judge
        self._before: asyncio.Event | None = None
        self._unanswered = 0

    def asked_apart(self, items: Iterable[Item]) -> list[tuple[list[Item], Coroutine[Any, Any, Answers]]]:
        """The records of the call by partition, each share with what asks about it once more."""
        shares = [list(share) for _, share in groupby(items, attrgetter("partition"))]
        self._unanswered = len(shares)
        return [(share, self._ask([item.admitted for item in share if item.admitted])) for share in shares]

    async def _ask(self, batch: Sequence[Admitted]) -> Answers:
        """The results of each record's requests; shares go one behind another, or 0.2 s on, and the call ends with all.

        Together, they would be as many calls for the replicas that are well as hang at the other.
        """
        before, answered = self._before, asyncio.Event()
        self._before = answered
        try:
            if before is not None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(before.wait(), APART_S)
            return await ask_batch(batch, self._judge)
        finally:
            answered.set()
            self._unanswered -= 1
            if not self._unanswered:
                self._call.cancel()


async def answer_or_overtaken(
    asked: "asyncio.Future[Answers]", batch: Sequence[Admitted], judge: RequestJudge
) -> Answers | Overtaken:
    """The answers of a call that has had none for `PROBE_AFTER_S`, or the call, which was overtaken."""
    await _wait_beside_probes(asked, sum(len(admitted.requests) for admitted in batch), judge)
    return asked.result() if asked.done() else Overtaken(asked, judge)


async def _wait_beside_probes(asked: asyncio.Future[Any], requests: int, judge: RequestJudge) -> None:
    """Wait for a call for as long as a probe takes, and once more for each of its requests.

    Where a probe has no answer either, another one follows, after twice the time: it may have gone where the call did.
    """
    clock = asyncio.get_running_loop().time
    begun: dict[asyncio.Future[Any], float] = {}
    patience_s = PROBE_AFTER_S
    try:
        while not asked.done():
            begun[asyncio.ensure_future(judge.judge([PROBE]))] = clock()
            await asyncio.wait({asked, *begun}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
            if took_s := [clock() - at for probe, at in begun.items() if probe.done()]:
                await asyncio.wait({asked}, timeout=requests * min(took_s))
                return
            patience_s *= 2
    finally:
        for probe in begun:
            probe.cancel()
