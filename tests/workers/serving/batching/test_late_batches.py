"""While a batch takes far longer than usual, calls that only wait for it are turned away, and nothing else is (P6)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from schemas.errors import ReplicaLateError
from tests.workers.serving.pretend_engine import PretendEngine, replica_of
from tests.workers.serving.virtual_time import run_at_once
from workers.serving.batching.batcher import AWAY_S, LATE_AFTER_S, LATE_TIMES, Batched, Batcher

USUAL_S = 2.0
Item = str
Submitting = asyncio.Task[list[Batched[str]]]
Story = Callable[[Batcher[Item, str]], Awaitable[None]]


class TimedRun:
    """Takes as many seconds as the first item of a batch says, and raises for what has a bang."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    async def __call__(self, groups: Sequence[Sequence[Item]]) -> list[str]:
        self.batches.append([group[0] for group in groups])
        await asyncio.sleep(float(groups[0][0].partition(":")[2] or 0))
        if any("!" in item for item in self.batches[-1]):
            raise RuntimeError("engine")
        return [f"answer to {group[0]}" for group in groups]


def tell(story: Story, *, usual_s: float = USUAL_S, concurrency: int = 1, turns_away: bool = True) -> list[list[str]]:
    """Have it happen to a batcher of two items a batch, whose batches usually take so long; returns the batches."""
    run = TimedRun()

    async def main() -> None:
        batcher = Batcher[Item, str](
            run,
            key=lambda item: item,
            batch_tokens=1000,
            batch_size=2,
            concurrency=concurrency,
            late=(lambda: ReplicaLateError("late")) if turns_away else None,
            clock=asyncio.get_running_loop().time,
        )
        if usual_s:
            batcher._lanes.cost.note(1, usual_s)  # noqa: SLF001 - or each case would begin with batches
        await story(batcher)

    run_at_once(main())
    return run.batches


async def submit(batcher: Batcher[Item, str], *items: str) -> Submitting:
    """In the queue, or in the engine, when it returns."""
    task = asyncio.ensure_future(batcher.submit([(item, 1) for item in items]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


async def when_away(task: Submitting) -> float:
    """The time at which a call is turned away."""
    with pytest.raises(ReplicaLateError):
        await task
    return asyncio.get_running_loop().time()


def test_p6_calls_that_wait_for_a_batch_that_is_late_are_turned_away_and_those_in_it_are_not() -> None:
    async def story(batcher: Batcher[Item, str]) -> None:
        in_it = await submit(batcher, "slow:100")
        waiting = await submit(batcher, "a", "b", "c")
        late_s = LATE_TIMES * USUAL_S
        assert await when_away(waiting) == pytest.approx(late_s)
        after = await submit(batcher, "d")
        assert await when_away(after) == pytest.approx(late_s + AWAY_S)
        assert batcher.waiting() == 0
        assert [one.answer for one in await in_it] == ["answer to slow:100"]
        assert [one.answer for one in await (await submit(batcher, "e"))] == ["answer to e"]

    assert tell(story) == [["slow:100"], ["e"]]


def test_p6_the_rest_of_a_call_that_the_batch_is_of_waits_for_it() -> None:
    """Elsewhere the whole call would be asked about, and might hang another replica."""

    async def story(batcher: Batcher[Item, str]) -> None:
        call = await submit(batcher, "slow:100", "b", "c")
        assert [one.answer for one in await call] == ["answer to slow:100", "answer to b", "answer to c"]

    assert tell(story) == [["slow:100", "b"], ["c"]]


@pytest.mark.parametrize(
    ("usual_s", "concurrency", "turns_away", "slow_s"),
    [
        (USUAL_S, 1, True, LATE_TIMES * USUAL_S - 0.1),
        (0.001, 1, True, LATE_AFTER_S - 0.1),  # never for what a second would do
        (0.0, 1, True, 100.0),  # nothing is known of what is usual
        (USUAL_S, 2, True, 100.0),  # another place is free, or will be
        (USUAL_S, 1, False, 100.0),
    ],
)
def test_a_batch_that_is_not_late_turns_nobody_away(
    usual_s: float, concurrency: int, turns_away: bool, slow_s: float
) -> None:
    async def story(batcher: Batcher[Item, str]) -> None:
        slow = await submit(batcher, f"slow:{slow_s}")
        waiting = await submit(batcher, "a")
        assert len(await slow) + len(await waiting) == 2

    assert len(tell(story, usual_s=usual_s, concurrency=concurrency, turns_away=turns_away)) == 2


def test_p6_a_batch_that_raises_late_is_run_again_by_calls_and_each_has_its_own_time() -> None:
    async def story(batcher: Batcher[Item, str]) -> None:
        first = await submit(batcher, "slow:3")
        bad, good = await submit(batcher, "bad!:4"), await submit(batcher, "good:4")
        waiting = await submit(batcher, "a")
        await first
        with pytest.raises(RuntimeError):
            await bad
        assert [one.answer for one in await good] == ["answer to good:4"]
        assert [one.answer for one in await waiting] == ["answer to a"]

    assert tell(story) == [["slow:3"], ["bad!:4", "good:4"], ["bad!:4"], ["good:4"], ["a"]]


def test_p6_a_guard_replica_s_batcher_tells_that_it_is_late(caplog: pytest.LogCaptureFixture) -> None:
    replica = replica_of(PretendEngine())
    told = replica._batcher._late  # noqa: SLF001 - a batch that takes a second would be waited for here
    assert told is not None
    assert isinstance(told(), ReplicaLateError)
    assert "batch_late" in caplog.text
