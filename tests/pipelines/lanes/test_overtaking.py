"""A call that takes longer than its requests would one by one is asked around; a slow one is waited for."""

import asyncio
from collections.abc import Sequence

import pytest

from pipelines.guard import GuardRequest, Judged
from pipelines.isolation import PROBE
from pipelines.judging import ask_batch
from pipelines.lanes.overtaking import PROBE_AFTER_S, unless_overtaken
from pipelines.moderation import Admitted
from tests.pipelines.judged_records import PROVENANCE, SAFE, answer, moderation, record
from tests.workers.serving.virtual_time import run_at_once

RECORDS = 20


class TimedJudge:
    """Takes some seconds for a call, and others for the first probe and those after it."""

    def __init__(self, call_s: float, *probe_s: float) -> None:
        self.call_s = call_s
        self.probe_s = probe_s
        self.probes = 0

    async def judge(self, requests: Sequence[GuardRequest]) -> list[Judged]:
        """See `pipelines.judging.Judge`."""
        is_probe = list(requests) == [PROBE]
        self.probes += is_probe
        await asyncio.sleep(self.probe_s[min(self.probes, len(self.probe_s)) - 1] if is_probe else self.call_s)
        return [Judged(answer(SAFE), PROVENANCE, 1) for _ in requests]


def admitted_record() -> Admitted:
    admitted = moderation().admit(record(), {}, "")
    assert isinstance(admitted, Admitted)
    return admitted


def ask(judge: TimedJudge) -> tuple[int | None, float]:
    """Of how many records it says something, None where the call was overtaken, and after how many seconds."""

    async def asked() -> tuple[int | None, float]:
        batch = [admitted_record()] * RECORDS
        call = asyncio.ensure_future(ask_batch(batch, judge))
        await asyncio.wait({call}, timeout=PROBE_AFTER_S)
        judged = call.result() if call.done() else await unless_overtaken(call, batch, judge)
        await asyncio.wait({call})
        assert call.cancelled() == (judged is None)
        return judged and len(judged), asyncio.get_running_loop().time()

    return run_at_once(asked())


def test_p6_a_call_is_overtaken_that_takes_longer_than_its_requests_would_one_by_one() -> None:
    judge = TimedJudge(3600.0, 0.04)

    said, took_s = ask(judge)

    assert (said, judge.probes) == (None, 1)
    assert took_s == pytest.approx(PROBE_AFTER_S + (1 + RECORDS) * 0.04)


def test_p6_a_probe_that_goes_where_the_call_hangs_is_followed_by_another() -> None:
    judge = TimedJudge(3600.0, 3600.0, 0.05)

    said, took_s = ask(judge)

    assert (said, judge.probes) == (None, 2)
    assert took_s == pytest.approx(2 * PROBE_AFTER_S + (1 + RECORDS) * 0.05)


def test_p6_a_probe_that_is_turned_away_at_first_does_not_say_how_long_requests_take() -> None:
    judge = TimedJudge(3600.0, 0.5, 0.05)

    said, took_s = ask(judge)

    assert (said, judge.probes) == (None, 2)
    assert took_s == pytest.approx(2 * PROBE_AFTER_S + (1 + RECORDS) * 0.05)


@pytest.mark.parametrize(
    ("call_s", "probe_s", "probes"),
    [
        (PROBE_AFTER_S / 2, 0.0, 0),
        (60.0, 3600.0, 6),  # the probe waits behind the call, or the guard is down
        (8.0, 0.4, 3),  # a processor takes eight seconds for twenty records, and another one is idle
        (60.0, 50.0, 6),  # two long queues of different lengths
    ],
)
def test_a_slow_call_is_waited_for_and_made_once(call_s: float, probe_s: float, probes: int) -> None:
    judge = TimedJudge(call_s, probe_s)

    said, took_s = ask(judge)

    assert (said, judge.probes) == (RECORDS, probes)
    assert took_s == call_s
