"""Whether a call of the guard hangs alone: it takes longer than its requests would one by one, as a probe shows.

Such a call holds all of its records, so whoever made it asks about them again, apart and once. Where the guard as a
whole is slow or down, the probe is as slow, and nothing is asked about twice.
"""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import groupby
from math import inf
from operator import attrgetter
from typing import Any, TypeVar

from pipelines.guard import Judged
from pipelines.isolation import PROBE
from pipelines.judging import RequestJudge
from pipelines.moderation import Admitted

PROBE_AFTER_S = 1.0
Answers = list[list[Judged]]
Item = TypeVar("Item")


async def unless_overtaken(
    asked: "asyncio.Future[Answers]", batch: Sequence[Admitted], judge: RequestJudge
) -> Answers | None:
    """The answers of a call that has had none for `PROBE_AFTER_S`, or None: it was overtaken, and is given up.

    It is waited for as long as a probe takes, and once more for each of its requests. Probes follow one another, each
    after twice the time: one may go where the call did, or be turned away there at first.
    """
    clock = asyncio.get_running_loop().time
    requests = sum(len(admitted.requests) for admitted in batch)
    probes: set[asyncio.Future[Any]] = set()
    next_at, pause_s, until = clock(), PROBE_AFTER_S, inf
    try:
        while not asked.done() and (now := clock()) < until:
            if now >= next_at:
                probes.add(asyncio.ensure_future(_seconds_of_probe(judge)))
                next_at, pause_s = now + pause_s, 2 * pause_s
            wait_s = min(next_at, until) - now
            done, _ = await asyncio.wait({asked, *probes}, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
            answered = probes & done
            probes -= answered
            until = min([until, *(clock() + requests * probe.result() for probe in answered)])
    finally:
        for probe in probes:
            probe.cancel()
        if not asked.done():
            asked.cancel()
    return None if asked.cancelled() or not asked.done() else asked.result()


async def _seconds_of_probe(judge: RequestJudge) -> float:
    clock = asyncio.get_running_loop().time
    begun = clock()
    await judge.judge([PROBE])
    return clock() - begun


def apart(items: Iterable[Item]) -> list[list[Item]]:
    """The records of a call that was overtaken, as they are asked about once more: each partition's in a call."""
    return [list(share) for _, share in groupby(items, attrgetter("partition"))]
