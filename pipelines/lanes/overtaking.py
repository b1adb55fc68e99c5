"""Whether a call of the guard hangs alone: it takes longer than its requests would one by one, as a probe shows.

Such a call holds all of its records, so whoever made it asks about them again, apart and once. Where the guard as a
whole is slow or down, the probe is as slow, and nothing is asked about twice.
"""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import groupby
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

    It is waited for as long as a probe takes, and once more for each of its requests.
    """
    clock = asyncio.get_running_loop().time
    begun = clock()
    probe: asyncio.Future[Any] = asyncio.ensure_future(judge.judge([PROBE]))
    try:
        await asyncio.wait({asked, probe}, return_when=asyncio.FIRST_COMPLETED)
        requests = sum(len(admitted.requests) for admitted in batch)
        await asyncio.wait({asked}, timeout=requests * (clock() - begun))
    finally:
        probe.cancel()
    if asked.done():
        return asked.result()
    asked.cancel()
    return None


def apart(items: Iterable[Item]) -> list[list[Item]]:
    """The records of a call that was overtaken, as they are asked about once more: each partition's in a call."""
    return [list(share) for _, share in groupby(items, attrgetter("partition"))]
