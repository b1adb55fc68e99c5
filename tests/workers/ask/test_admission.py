"""Admission: what would come too late is refused before the guard is asked, and no more than that."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest

from pipelines.guard import GuardReply, GuardRequest
from schemas.errors import AskRefusedError, GuardUnavailableError
from tests.guards.scripted_guard import PROVENANCE, ScriptedGuard
from tests.workers.serving.virtual_time import run_at_once
from workers.ask.admission import Admission, WatchedGuard
from workers.ask.demand import AskDemand, AskFigures
from workers.serving.batching.batcher import Batcher

MOST = 1_000_000


class Clock:
    """Seconds that a test counts."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Away:
    """No guard."""

    async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply:
        """See `pipelines.guard.Guard`."""
        raise GuardUnavailableError(f"gone, {len(requests)} requests")


def took(clock: Clock, admission: Admission, tokens: int, seconds: float) -> None:
    with admission.admitted(tokens, 1, clock.now + 99) as seat:
        clock.now += seconds
        seat.engine_s = seconds / 2


def give_up(clock: Clock, admission: Admission, tokens: int, seconds: float) -> None:
    with suppress(TimeoutError), admission.admitted(tokens, 1, clock.now + 99):
        clock.now += seconds
        raise TimeoutError


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def admission(clock: Clock) -> Admission:
    """One that has learned: half a second, and 500 tokens a second beyond it."""
    made = Admission(WatchedGuard(ScriptedGuard(), clock), MOST, MOST, clock)
    took(clock, made, 10, 0.5)
    assert made.predicted_wait_s(9_999) == 0.0  # one alone says nothing of the speed
    took(clock, made, 1_000, 2.5)
    return made


def test_what_would_be_late_is_refused_by_the_wait_that_its_tokens_foretell(clock: Clock, admission: Admission) -> None:
    assert admission.predicted_wait_s(500) == pytest.approx(1.5, abs=0.02)
    with admission.admitted(2_000, 1, clock.now + 9):
        with admission.admitted(1_000, 1, clock.now + 10.9):
            pass
        with pytest.raises(AskRefusedError) as refused, admission.admitted(1_000, 1, clock.now + 10.7):
            pass
        assert (refused.value.code, refused.value.sheds, refused.value.retry_after_s) == ("overloaded", True, 1.0)
        with pytest.raises(AskRefusedError):
            admission.refuse_late(clock.now + 7.4)
        admission.refuse_late(clock.now + 7.6)
    with admission.admitted(10_000, 1, clock.now + 1):  # alone it takes as long as it takes
        pass
    assert (admission.tokens, admission.items) == (0, 0)


def test_a_question_that_was_given_up_is_still_under_way_for_a_while_and_lowers_the_speed(
    clock: Clock, admission: Admission
) -> None:
    give_up(clock, admission, 1_000, 4.0)
    assert admission.predicted_wait_s(0) == pytest.approx(2.5, abs=0.05)  # the guard was away: as fast as before
    clock.now += 9.0
    admission.refuse_late(clock.now)

    admission._guard.last_answer = clock.now + 1.0  # noqa: SLF001
    give_up(clock, admission, 1_000, 4.0)
    assert (admission.tokens, admission.items) == (1_000, 1)
    assert admission.predicted_wait_s(0) == pytest.approx(0.5 + 4.0, abs=0.05)  # 250 a second now
    clock.now += 4.1
    admission.refuse_late(clock.now + 0.1)
    assert (admission.tokens, admission.items) == (0, 0)
    took(clock, admission, 500, 0.5)  # one alone that is faster
    assert admission.predicted_wait_s(500) == pytest.approx(1.0, abs=0.05)


def test_a_guard_that_seems_faster_is_believed_slowly_and_one_that_is_slower_soon(
    clock: Clock, admission: Admission
) -> None:
    took(clock, admission, 3_000, 1.5)  # 3,000 a second, where 500 were known
    assert admission.predicted_wait_s(625) == pytest.approx(1.5, abs=0.05)
    took(clock, admission, 250, 1.5)  # 250 a second
    assert admission.predicted_wait_s(512) == pytest.approx(1.5, abs=0.05)


def test_what_the_guard_had_done_for_others_before_a_question_came_proves_no_speed_at_once(
    clock: Clock, admission: Admission
) -> None:
    with admission.admitted(4_000, 1, clock.now + 99):
        took(clock, admission, 10, 0.9)
    assert admission.predicted_wait_s(4_000) > 4.0
    took(clock, admission, 4_000, 0.9)  # alone, which proves it
    assert admission.predicted_wait_s(4_000) < 1.5


def test_answers_that_were_there_already_say_nothing_of_the_speed(clock: Clock, admission: Admission) -> None:
    with admission.admitted(9_000, 1, clock.now + 99):
        clock.now += 0.001
    assert admission.predicted_wait_s(500) == pytest.approx(1.5, abs=0.02)


def test_p9_what_is_under_way_is_bounded(clock: Clock) -> None:
    admission = Admission(WatchedGuard(ScriptedGuard(), clock), 100, 3, clock)
    with admission.admitted(60, 2, clock.now + 9):
        for tokens, items in ((50, 1), (10, 2)):
            with pytest.raises(AskRefusedError), admission.admitted(tokens, items, clock.now + 9):
                pass
        with admission.admitted(10, 1, clock.now + 9):
            pass


def test_demand_counts_what_was_refused_as_well(clock: Clock, admission: Admission) -> None:
    demand = AskDemand(admission, clock)
    assert demand.figures() is None
    clock.now += 1.0
    with admission.admitted(2_000, 8, clock.now + 9):
        for _ in range(3):
            with pytest.raises(AskRefusedError), admission.admitted(9_000, 8, clock.now + 9):
                pass
        clock.now += 1.0
        assert demand.figures() == AskFigures(8, 16.0, 0.0)
    with admission.admitted(2_000, 8, clock.now + 9), pytest.raises(AskRefusedError):
        admission.refuse_unread(clock.now + 1)
    clock.now += 2.0

    waiting, offered, answered = demand.figures() or AskFigures(0, 0.0, 0.0)
    assert (waiting, answered) == (0, 4.0)
    assert 40 / 4 < offered < 48 / 4
    clock.now += 10.0
    demand.figures()
    clock.now += 10.0
    assert demand.figures() == AskFigures(0, 0.0, 0.0)


def test_a_guard_that_has_been_away_for_a_while_is_not_asked(clock: Clock) -> None:
    watched = WatchedGuard(Away(), clock)
    admission = Admission(watched, MOST, MOST, clock)
    for seconds in (0.0, 4.0):
        clock.now += seconds
        with pytest.raises(GuardUnavailableError):
            asyncio.run(watched.judge([]))
        with admission.admitted(1, 1, clock.now + 9):
            pass
    clock.now += 2.0
    with pytest.raises(AskRefusedError, match="does not answer"), admission.admitted(1, 1, clock.now + 9):
        pass


ITEM_TOKENS, ITEMS, TOKENS_A_SECOND, PASS_S, DEADLINE_S, SECONDS = 100, 8, 10_000.0, 0.02, 3.0, 40.0


class Engine:
    """A batcher before an engine of a given speed."""

    def __init__(self, slows_at: float) -> None:
        self._slows_at = slows_at
        self._batcher = Batcher[object, float](self._run, key=id, batch_tokens=65_536, batch_size=256)

    async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply:
        """See `pipelines.guard.Guard`."""
        await self._batcher.submit([(object(), request.tokens) for request in requests])
        return GuardReply([], PROVENANCE)

    async def _run(self, batch: Sequence[Sequence[object]]) -> list[float]:
        slowed = 3 if asyncio.get_running_loop().time() > self._slows_at else 1
        await asyncio.sleep(PASS_S + slowed * len(batch) * ITEM_TOKENS / TOKENS_A_SECOND)
        return [0.0] * len(batch)


async def goodput(offered: float, slows_at: float = 1e9, since: float = 10.0) -> float:
    """Items a second that were answered in time, of so many that were offered, once ten seconds have passed."""
    loop = asyncio.get_running_loop()
    guard = WatchedGuard(Engine(slows_at), loop.time)
    admission = Admission(guard, MOST, MOST, loop.time)
    requests = [GuardRequest((), ITEM_TOKENS, {})] * ITEMS
    answered = 0

    async def ask() -> None:
        nonlocal answered
        deadline = loop.time() + DEADLINE_S
        with suppress(AskRefusedError, TimeoutError), admission.admitted(ITEMS * ITEM_TOKENS, ITEMS, deadline) as seat:
            async with asyncio.timeout_at(deadline):
                await guard.judge(requests)
            seat.engine_s = PASS_S
            answered += ITEMS if loop.time() > since else 0

    asked = []
    while loop.time() < SECONDS:
        asked.append(asyncio.create_task(ask()))
        await asyncio.sleep(ITEMS / offered)
    await asyncio.gather(*asked)
    return answered / (loop.time() - since)


@pytest.mark.parametrize("times", [2, 5, 20])
def test_goodput_stays_where_it_is_when_more_is_offered_than_can_be_done(times: int) -> None:
    capacity = TOKENS_A_SECOND / ITEM_TOKENS

    assert run_at_once(goodput(0.8 * capacity)) > 0.75 * capacity
    assert run_at_once(goodput(times * capacity)) > 0.9 * capacity


def test_goodput_follows_a_guard_that_becomes_slower() -> None:
    capacity = TOKENS_A_SECOND / ITEM_TOKENS / 3

    assert run_at_once(goodput(15 * capacity, slows_at=10.0, since=20.0)) > 0.8 * capacity
