"""Whether a call of the guard hangs alone: it takes longer than its requests would one by one, as a probe shows.

A call holds all records that share it. One that hangs is given up, so that they can be asked about apart. Where the
guard as a whole is slow or down, the probe is as slow, and nothing is asked about twice.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from pipelines.guard import Judged
from pipelines.isolation import PROBE
from pipelines.judging import RequestJudge, ask_batch
from pipelines.moderation import Admitted

PROBE_AFTER_S = 1.0


async def ask_unless_overtaken(batch: Sequence[Admitted], judge: RequestJudge) -> list[list[Judged]] | None:
    """The results of each record's requests; None where the call was overtaken, and given up."""
    asked = asyncio.ensure_future(ask_batch(batch, judge))
    try:
        await asyncio.wait({asked}, timeout=PROBE_AFTER_S)
        if not asked.done():
            await _wait_beside_probe(asked, sum(len(admitted.requests) for admitted in batch), judge)
        return asked.result() if asked.done() else None
    finally:
        asked.cancel()


async def _wait_beside_probe(asked: asyncio.Future[Any], requests: int, judge: RequestJudge) -> None:
    """Wait for a call for as long as a probe takes, and once more for each of its requests."""
    clock = asyncio.get_running_loop().time
    began = clock()
    probe: asyncio.Future[Any] = asyncio.ensure_future(judge.judge([PROBE]))
    try:
        await asyncio.wait({asked, probe}, return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            await asyncio.wait({asked}, timeout=requests * (clock() - began))
    finally:
        probe.cancel()
