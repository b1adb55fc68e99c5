"""A call that takes longer than its requests would one by one is asked around; a slow one is waited for."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple

import pytest

from pipelines.guard import GuardRequest, Judged
from pipelines.isolation import PROBE
from pipelines.judging import ask_batch
from pipelines.lanes.overtaking import APART_S, PROBE_AFTER_S, Answers, Overtaken, answer_or_overtaken
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
        judged = call.result() if call.done() else await answer_or_overtaken(call, batch, judge)
        return None if isinstance(judged, Overtaken) else len(judged), asyncio.get_running_loop().time()

    return run_at_once(asked())


def test_p6_a_call_is_overtaken_that_takes_longer_than_its_requests_would_one_by_one() -> None:
    judge = TimedJudge(3600.0, 0.05)

    said, took_s = ask(judge)

    assert (said, judge.probes) == (None, 1)
    assert took_s == pytest.approx(PROBE_AFTER_S + (1 + RECORDS) * 0.05)


def test_p6_a_probe_that_goes_where_the_call_hangs_is_followed_by_another() -> None:
    judge = TimedJudge(3600.0, 3600.0, 0.05)

    said, took_s = ask(judge)

    assert (said, judge.probes) == (None, 2)
    assert took_s == pytest.approx(2 * PROBE_AFTER_S + (1 + RECORDS) * 0.05)


class OfPartition(NamedTuple):
    """A record in a call."""

    partition: int
    admitted: Admitted | None


@pytest.mark.parametrize(("call_s", "last_s"), [(0.01, 3 * 0.01), (1.0, APART_S + 1.0)])
def test_p6_the_shares_of_an_overtaken_call_go_one_behind_another_and_it_ends_with_the_last(
    call_s: float, last_s: float
) -> None:
    items = [OfPartition(partition, admitted_record()) for partition in (0, 0, 1, 2, 2)]
    items[3] = OfPartition(2, None)  # decided before it was asked about
    told: list[float] = []

    async def main() -> None:
        call: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()
        shares = Overtaken(call, TimedJudge(call_s, 0.0)).asked_apart(items)
        assert [[item.partition for item in share] for share, _ in shares] == [[0, 0], [1], [2, 2]]

        async def ask_one(asked: Coroutine[Any, Any, Answers]) -> int:
            answers = await asked
            assert call.cancelled() == (len(told) == 2)
            told.append(asyncio.get_running_loop().time())
            return len(answers)

        assert await asyncio.gather(*(ask_one(asked) for _, asked in shares)) == [2, 1, 1]

    run_at_once(main())
    assert told[-1] == pytest.approx(last_s)


@pytest.mark.parametrize(
    ("call_s", "probe_s", "probes"),
    [
        (PROBE_AFTER_S / 2, 0.0, 0),
        (60.0, 3600.0, 6),  # the probe waits behind the call, or the guard is down
        (8.0, 0.4, 1),  # a processor takes eight seconds for twenty records, and another one is idle
        (60.0, 50.0, 6),  # two long queues of different lengths
    ],
)
def test_a_slow_call_is_waited_for_and_made_once(call_s: float, probe_s: float, probes: int) -> None:
    judge = TimedJudge(call_s, probe_s)

    said, took_s = ask(judge)

    assert (said, judge.probes) == (RECORDS, probes)
    assert took_s == call_s
