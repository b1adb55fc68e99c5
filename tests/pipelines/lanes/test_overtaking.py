"""A call that hangs is given up once a later probe has its answer; where the guard is slow, it is waited for."""

import asyncio
from collections.abc import Sequence

from pipelines.guard import GuardRequest, Judged
from pipelines.isolation import PROBE
from pipelines.lanes.overtaking import PROBE_AFTER_S, ask_unless_overtaken
from pipelines.moderation import Admitted
from tests.pipelines.judged_records import PROVENANCE, SAFE, answer, moderation, record
from tests.workers.serving.virtual_time import run_at_once


class QueueingJudge:
    """Answers calls in turn, probes at once; one that hangs is out of the queue."""

    def __init__(self, seconds: float, *, hangs: bool = False) -> None:
        self.seconds = seconds
        self.hangs = hangs
        self.queue = asyncio.Lock()
        self.probes = self.given_up = 0

    async def judge(self, requests: Sequence[GuardRequest]) -> list[Judged]:
        """See `pipelines.judging.Judge`."""
        is_probe = list(requests) == [PROBE]
        self.probes += is_probe
        try:
            if self.hangs and not is_probe:
                await asyncio.sleep(self.seconds)
            async with self.queue:
                await asyncio.sleep(0.0 if is_probe else self.seconds)
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        return [Judged(answer(SAFE), PROVENANCE, 1) for _ in requests]


def ask(judge: QueueingJudge) -> tuple[list[list[Judged]] | None, float]:
    """What it says of a record, and after how many seconds."""
    admitted = moderation().admit(record(), {}, "")
    assert isinstance(admitted, Admitted)

    async def asked() -> tuple[list[list[Judged]] | None, float]:
        loop = asyncio.get_running_loop()
        judged = await ask_unless_overtaken([admitted], judge)
        took_s = loop.time()
        await asyncio.sleep(0)  # what was cancelled hears of it now
        return judged, took_s

    return run_at_once(asked())


def test_p6_a_call_that_a_later_probe_overtakes_is_given_up() -> None:
    judge = QueueingJudge(3600.0, hangs=True)

    assert ask(judge) == (None, PROBE_AFTER_S)
    assert (judge.probes, judge.given_up) == (1, 1)


def test_an_answer_in_time_costs_no_probe() -> None:
    judge = QueueingJudge(PROBE_AFTER_S / 2)

    judged, took_s = ask(judge)

    assert judged is not None
    assert (took_s, judge.probes, judge.given_up) == (PROBE_AFTER_S / 2, 0, 0)


def test_a_slow_guard_is_waited_for_and_asked_once() -> None:
    judge = QueueingJudge(60.0)

    judged, took_s = ask(judge)

    assert judged is not None
    assert (took_s, judge.probes) == (60.0, 1)
