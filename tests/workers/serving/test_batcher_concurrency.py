"""An engine that takes several batches at a time: all its slots are used, and nothing is run twice or lost (P1, P9)."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.serving.gated_engine import key_of, run, turns
from workers.guard.lane import Lane
from workers.serving.batching.batcher import Batcher


class Slots:
    """Answers each batch once the test lets it; `running` holds the batches under way, by their first item."""

    def __init__(self) -> None:
        self.running: dict[str, asyncio.Future[BaseException | None]] = {}
        self.batches: list[list[str]] = []
        self.most = 0

    async def __call__(self, groups: Sequence[Sequence[str]]) -> list[str]:
        items = [group[0] for group in groups]
        self.batches.append(items)
        self.running[items[0]] = asyncio.get_running_loop().create_future()
        self.most = max(self.most, len(self.running))
        try:
            error = await self.running[items[0]]
        finally:
            del self.running[items[0]]
        if error is not None:
            raise error
        return [f"answer to {key_of(item)}" for item in items]

    async def end(self, first: str, error: BaseException | None = None) -> None:
        self.running[first].set_result(error)
        await turns()


def batcher_of(slots: Slots, concurrency: int, *, size: int = 2) -> Batcher[str, str]:
    return Batcher(
        slots,
        key=key_of,
        batch_tokens=1000,
        batch_size=size,
        background_tokens=1000,
        concurrency=concurrency,
        blameless=(ConnectionError,),
        clock=lambda: 0.0,
    )


def test_one_call_fills_all_slots_and_the_rest_waits_in_order() -> None:
    async def main() -> None:
        slots = Slots()
        batcher = batcher_of(slots, 3)
        call = asyncio.create_task(batcher.submit([(str(number), 1) for number in range(9)]))
        await turns()

        assert slots.batches == [["0", "1"], ["2", "3"], ["4", "5"]]
        assert batcher.waiting() == 3
        await slots.end("2")
        assert slots.batches[3:] == [["6", "7"]]
        for first in ("0", "4", "6", "8"):
            await slots.end(first)
        assert [answer for answer, *_ in await call] == [f"answer to {number}" for number in range(9)]

    run(main())


def test_an_item_that_runs_already_is_not_run_beside_itself() -> None:
    async def main() -> None:
        slots = Slots()
        batcher = batcher_of(slots, 3)
        calls = [asyncio.create_task(batcher.submit([("a:1", 1)]))]
        await turns()
        calls.append(asyncio.create_task(batcher.submit([("a:2", 1), ("b", 1)])))
        await turns()

        assert slots.batches == [["a:1"], ["b"]]
        await slots.end("a:1")
        await slots.end("b")
        first, second = await asyncio.gather(*calls)
        assert [(item.answer, item.is_shared) for item in (*first, *second)] == [
            ("answer to a", False),
            ("answer to a", True),
            ("answer to b", False),
        ]

    run(main())


def test_p6_an_item_is_run_by_itself_after_the_equal_one_that_it_waited_for_has_failed() -> None:
    async def main() -> None:
        slots = Slots()
        batcher = batcher_of(slots, 3)
        failing = asyncio.create_task(batcher.submit([("a:1", 1)]))
        await turns()
        waiting = asyncio.create_task(batcher.submit([("a:2", 1)]))
        await turns()
        await slots.end("a:1", RuntimeError("engine"))

        with pytest.raises(RuntimeError):
            await failing
        assert slots.batches == [["a:1"], ["a:2"]]
        await slots.end("a:2")
        assert (await waiting)[0].answer == "answer to a"

    run(main())


def test_background_batches_take_half_of_the_slots_at_most() -> None:
    async def main() -> None:
        slots = Slots()
        batcher = batcher_of(slots, 4, size=1)
        calls = [asyncio.create_task(batcher.submit([(f"b{number}", 1)], lane=Lane.BACKGROUND)) for number in range(4)]
        await turns()
        assert slots.batches == [["b0"], ["b1"]]
        calls.append(asyncio.create_task(batcher.submit([("live", 1), ("other", 1)])))
        await turns()

        assert slots.batches[2:] == [["live"], ["other"]]
        for first in ("live", "b0", "b1", "other", "b2", "b3"):
            await slots.end(first)
        await asyncio.gather(*calls)

    run(main())


def test_an_error_that_says_nothing_of_the_items_is_every_call_s_and_nothing_is_run_again() -> None:
    async def main() -> None:
        slots = Slots()
        batcher = batcher_of(slots, 1)
        first = asyncio.create_task(batcher.submit([("a", 1)]))
        await turns()
        calls = [asyncio.create_task(batcher.submit([(item, 1)])) for item in "bc"]
        await turns()
        await slots.end("a")
        await slots.end("b", ConnectionError())

        assert [type(item) for item in await asyncio.gather(*calls, return_exceptions=True)] == [ConnectionError] * 2
        assert slots.batches == [["a"], ["b", "c"]]
        await first

    run(main())


def test_a_loop_that_ends_leaves_no_caller_hanging() -> None:
    async def main() -> None:
        slots = Slots()
        batcher = batcher_of(slots, 2)
        call = asyncio.create_task(batcher.submit([(str(number), 1) for number in range(9)]))
        await turns()
        for worker in tuple(batcher._workers):  # noqa: SLF001 - as the end of a loop does
            worker.cancel()

        with pytest.raises(asyncio.CancelledError):
            await call

    run(main())


@given(
    calls=st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=8), min_size=1, max_size=10),
    concurrency=st.integers(1, 5),
    size=st.integers(1, 4),
    rng=st.randoms(use_true_random=False),
)
@settings(max_examples=100)
def test_p1_p9_every_item_gets_its_answer_within_the_slots(
    calls: list[list[int]], concurrency: int, size: int, rng: object
) -> None:
    async def main() -> None:
        slots = Slots()
        batcher = batcher_of(slots, concurrency, size=size)
        tasks = []
        for number, keys in enumerate(calls):
            items = [(f"{key}:{number}.{place}", 1) for place, key in enumerate(keys)]
            tasks.append(asyncio.create_task(batcher.submit(items, lane=rng.choice(list(Lane)))))  # type: ignore[attr-defined]
            await turns(3)
            if slots.running and rng.random() < 0.5:  # type: ignore[attr-defined]
                await slots.end(rng.choice(sorted(slots.running)))  # type: ignore[attr-defined]
            first = [next(iter(batch)) for batch in slots.batches]
            assert len({key_of(item) for item in slots.running}) == len(slots.running), first
        while slots.running:
            await slots.end(rng.choice(sorted(slots.running)))  # type: ignore[attr-defined]
        for keys, task in zip(calls, tasks, strict=True):
            assert [answer for answer, *_ in await task] == [f"answer to {key}" for key in keys]
        assert slots.most <= concurrency
        assert not any(map(batcher.waiting, Lane))

    run(main())
