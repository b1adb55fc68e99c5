"""While a batch takes far longer than usual, calls that only wait for it are turned away, and nothing else is (P6)."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence

import pytest

from schemas.errors import ReplicaLateError
from tests.workers.serving.pretend_engine import PretendEngine, replica_of, request
from tests.workers.serving.virtual_time import run_at_once
from workers.serving.batching.batcher import AWAY_S, FIRST_LATE_AFTER_S, LATE_AFTER_S, LATE_TIMES, Batched, Batcher
from workers.serving.engine.completion import Completion, PreparedPrompt

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
            late=ReplicaLateError if turns_away else None,
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
        (0.0, 1, True, FIRST_LATE_AFTER_S - 0.1),  # nothing is known of what is usual
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


def test_p6_a_first_batch_is_late_after_ten_seconds() -> None:
    async def story(batcher: Batcher[Item, str]) -> None:
        in_it = await submit(batcher, "slow:100")
        assert await when_away(await submit(batcher, "a")) == pytest.approx(FIRST_LATE_AFTER_S)
        await in_it

    tell(story, usual_s=0.0)


def test_p6_a_batch_that_raises_is_run_again_by_calls_and_each_has_its_own_time() -> None:
    async def story(batcher: Batcher[Item, str]) -> None:
        first = await submit(batcher, "slow:1")
        bad, good = await submit(batcher, "bad!:5"), await submit(batcher, "good:5")
        waiting = await submit(batcher, "a")
        await first
        with pytest.raises(RuntimeError):
            await bad
        assert [one.answer for one in await good] == ["answer to good:5"]
        assert [one.answer for one in await waiting] == ["answer to a"]

    assert tell(story) == [["slow:1"], ["bad!:5", "good:5"], ["bad!:5"], ["good:5"], ["a"]]


def test_calls_that_are_turned_away_do_not_count_as_load() -> None:
    async def story(batcher: Batcher[Item, str]) -> None:
        in_it = await submit(batcher, "slow:9")
        load = batcher._lanes._live_load  # noqa: SLF001 - what it does to shares takes a story of its own
        before = load._recent  # noqa: SLF001
        for _ in range(3):
            await when_away(await submit(batcher, "a", "b"))
        assert load._recent <= before  # noqa: SLF001
        await in_it

    tell(story)


def test_p6_a_guard_replica_says_that_it_turns_a_call_away_and_tells_of_a_batch_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("workers.serving.batching.batcher.FIRST_LATE_AFTER_S", 0.01)
    monkeypatch.setattr("workers.serving.batching.batcher.AWAY_S", 0.01)
    begins, ends = threading.Event(), threading.Event()

    class HeldEngine(PretendEngine):
        def run(self, prompts: Sequence[PreparedPrompt]) -> list[Completion]:
            begins.set()
            ends.wait(20)
            return super().run(prompts)

    async def main() -> None:
        replica = replica_of(HeldEngine())
        held = asyncio.ensure_future(replica.judge([request("a")]))
        await asyncio.to_thread(begins.wait, 20)
        assert await replica.judge([request("b")]) is None
        assert await replica.judge_ask([request("c")]) is None
        assert await replica.judge_background([request("d")]) is None
        ends.set()
        assert await held is not None

    asyncio.run(main())
    assert caplog.text.count("batch_late") == 1
