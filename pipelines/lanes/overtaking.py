"""Whether a call of the guard hangs alone: a probe that was sent after it has its answer, and the call has none.

A call holds all records that share it. One that is overtaken is given up, so that they can be asked about apart.
Where the guard as a whole is slow or down, the probe waits behind the call, and nothing is asked about twice.
"""

import asyncio
from collections.abc import Sequence

from pipelines.guard import Judged
from pipelines.isolation import PROBE
from pipelines.judging import RequestJudge, ask_batch
from pipelines.moderation import Admitted

PROBE_AFTER_S = 1.0


async def ask_unless_overtaken(batch: Sequence[Admitted], judge: RequestJudge) -> list[list[Judged]] | None:
    """The results of each record's requests; None where the call was overtaken, and given up."""
    asked = asyncio.ensure_future(ask_batch(batch, judge))
    probe: asyncio.Future[list[Judged]] | None = None
    try:
        await asyncio.wait({asked}, timeout=PROBE_AFTER_S)
        if not asked.done():
            probe = asyncio.ensure_future(judge.judge([PROBE]))
            await asyncio.wait({asked, probe}, return_when=asyncio.FIRST_COMPLETED)
        return asked.result() if asked.done() else None
    finally:
        asked.cancel()
        if probe is not None:
            probe.cancel()
