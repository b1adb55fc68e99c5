"""The replica's batcher: nothing lost, nothing starves, the budget holds, and a failure stays in its call (P6, P9)."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.serving.gated_engine import GatedEngine, batcher_of, key_of, run, turns
from workers.serving.batching.batcher import Batcher

Items = list[tuple[str, int]]


@given(
    calls=st.lists(st.lists(st.integers(1, 60), max_size=8), min_size=1, max_size=12),
    tokens=st.integers(1, 100),
    size=st.integers(1, 10),
    pauses=st.lists(st.integers(0, 4), min_size=12, max_size=12),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_p6_p9_every_item_is_answered_once_in_order_and_within_the_budget(
    calls: list[list[int]], tokens: int, size: int, pauses: list[int]
) -> None:
    engine = GatedEngine()
    work: list[Items] = [
        [(f"{call}.{place}", cost) for place, cost in enumerate(costs)] for call, costs in enumerate(calls)
    ]

    async def main() -> None:
        batcher = batcher_of(engine, tokens=tokens, size=size)
        tasks = []
        for items, pause in zip(work, pauses, strict=False):
            tasks.append(asyncio.create_task(batcher.submit(items)))
            await turns(pause)
        for task, items in zip(tasks, work, strict=True):
            assert [answer for answer, *_ in await task] == [f"answer to {item}" for item, _ in items]
        assert batcher.waiting() == 0

    run(main())

    cost = dict(item for items in work for item in items)
    arrived = [item for items in work for item, _ in items]
    assert [item for batch in engine.batches for item in batch] == arrived, "first come, first served: none starves"
    for batch in engine.batches:
        longest = max(cost[item] for item in batch)
        assert len(batch) == 1 or longest * len(batch) <= tokens
        assert 1 <= len(batch) <= size


def test_an_idle_engine_starts_at_once_with_one_item() -> None:
    async def main() -> None:
        engine = GatedEngine(gate=asyncio.Event())
        waiting = asyncio.create_task(batcher_of(engine).submit([("a", 1)]))
        await turns()

        assert engine.batches == [["a"]]
        engine.gate.set()
        assert [answer for answer, *_ in await waiting] == ["answer to a"]

    run(main())


def test_many_calls_become_one_batch_while_the_engine_is_busy() -> None:
    async def main() -> None:
        engine = GatedEngine(gate=asyncio.Event())
        batcher = batcher_of(engine)
        calls = [asyncio.create_task(batcher.submit([("first", 1)]))]
        await turns()
        calls += [asyncio.create_task(batcher.submit([(f"{call}", 1)])) for call in range(8)]
        await turns()
        assert batcher.waiting() == 8

        engine.gate.set()
        await asyncio.gather(*calls)

        assert engine.batches == [["first"], [str(call) for call in range(8)]]

    run(main())


def test_p9_an_item_larger_than_the_budget_goes_alone_and_holds_nobody_up() -> None:
    async def main() -> None:
        engine = GatedEngine()
        await batcher_of(engine, tokens=10).submit([("a", 1), ("huge", 99), ("b", 1), ("c", 1)])

        assert engine.batches == [["a"], ["huge"], ["b", "c"]]

    run(main())


@given(poison=st.sets(st.integers(0, 19)), size=st.integers(1, 50), items=st.integers(1, 3))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_p6_a_batch_that_raises_fails_the_calls_at_fault_and_not_those_beside_them(
    poison: set[int], size: int, items: int
) -> None:
    engine = GatedEngine(lambda batch: any(int(item.partition(".")[0]) in poison for item in batch))

    async def main() -> None:
        batcher = batcher_of(engine, size=size)
        calls = [
            asyncio.create_task(batcher.submit([(f"{number}.{item}", 1) for item in range(items)]))
            for number in range(20)
        ]
        for number, result in enumerate(await asyncio.gather(*calls, return_exceptions=True)):
            if number in poison:
                assert isinstance(result, RuntimeError)
            else:
                assert isinstance(result, list)
                assert [answer for answer, *_ in result] == [f"answer to {number}.{item}" for item in range(items)]
        assert [answer for answer, *_ in await batcher.submit([("99.after", 1)])] == ["answer to 99.after"]

    run(main())


def test_p6_a_call_whose_first_batch_failed_takes_the_rest_of_its_items_out_of_the_queue() -> None:
    async def main() -> None:
        engine = GatedEngine(lambda batch: "bad" in batch)
        batcher = batcher_of(engine, size=1)
        failing = asyncio.create_task(batcher.submit([("bad", 1), *((str(number), 1) for number in range(50))]))
        good = asyncio.create_task(batcher.submit([("good", 1)]))

        with pytest.raises(RuntimeError):
            await failing
        assert (await good)[0][0] == "answer to good"
        assert batcher.waiting() == 0
        assert len(engine.batches) < 10, "the engine works on for a call that has failed"

    run(main())


@pytest.mark.parametrize("surplus", [-1, 1])
def test_p6_a_batch_with_the_wrong_number_of_answers_fails_as_a_whole(surplus: int) -> None:
    async def miscount(batch: Sequence[Sequence[str]]) -> list[str]:
        return ["?"] * (len(batch) + surplus)

    async def main() -> None:
        with pytest.raises(ValueError, match="answers to a batch of 2"):
            await Batcher(miscount, key=key_of, batch_tokens=10, batch_size=10).submit([("a", 1), ("b", 1)])

    run(main())


def test_p9_a_cancelled_call_frees_the_queue_at_once_although_the_engine_hangs() -> None:
    async def main() -> None:
        engine = GatedEngine(gate=asyncio.Event())
        batcher = batcher_of(engine)
        running = asyncio.create_task(batcher.submit([("running", 1)]))
        await turns()
        for _ in range(50):  # a client that gives up and asks again, while the engine hangs
            call = asyncio.create_task(batcher.submit([("given up", 1), ("too", 1)]))
            await turns()
            call.cancel()
            await turns()
            assert batcher.waiting() == 0

        kept = asyncio.create_task(batcher.submit([("kept", 1)]))
        await turns()
        engine.gate.set()

        assert [answer for answer, *_ in await kept] == ["answer to kept"]
        assert [answer for answer, *_ in await running] == ["answer to running"]
        assert engine.batches == [["running"], ["kept"]]

    run(main())


def test_p9_calls_cancelled_as_the_engine_becomes_free_are_not_run() -> None:
    async def main() -> None:
        engine = GatedEngine(gate=asyncio.Event())
        batcher = batcher_of(engine)
        running = asyncio.create_task(batcher.submit([("running", 1)]))
        await turns()
        given_up = [asyncio.create_task(batcher.submit([(f"{call}", 1)])) for call in range(5)]
        kept = asyncio.create_task(batcher.submit([("kept", 1)]))
        await turns()
        engine.gate.set()  # the engine takes its next batch before the cancelled calls come to clean up
        for call in given_up:
            call.cancel()
        await asyncio.gather(running, kept)

        assert engine.batches == [["running"], ["kept"]]

    run(main())


def test_a_call_cancelled_while_its_batch_runs_leaves_its_neighbours_their_answers() -> None:
    async def main() -> None:
        engine = GatedEngine(gate=asyncio.Event())
        batcher = batcher_of(engine)
        first, second = (asyncio.create_task(batcher.submit([(name, 1)])) for name in ("a", "b"))
        await turns()
        first.cancel()
        engine.gate.set()

        assert [answer for answer, *_ in await second] == ["answer to b"]
        with pytest.raises(asyncio.CancelledError):
            await first

    run(main())


@pytest.mark.parametrize("size", [1, 2, 10])
@pytest.mark.parametrize("failing_first", [False, True])
def test_p5_an_engine_run_that_is_cancelled_leaves_no_call_waiting_for_ever(size: int, failing_first: bool) -> None:
    async def main() -> None:
        async def cancelled(batch: Sequence[Sequence[str]]) -> list[str]:
            if failing_first and len(batch) > 1:
                raise RuntimeError("engine")
            raise asyncio.CancelledError

        batcher: Batcher[str, str] = Batcher(cancelled, key=key_of, batch_tokens=10, batch_size=size)
        calls = [asyncio.create_task(batcher.submit([(name, 1)])) for name in "abc"]
        for call in calls:
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(asyncio.shield(call), 1)

    run(main())


def test_an_empty_call_is_answered_without_the_engine() -> None:
    async def main() -> None:
        engine = GatedEngine()

        assert await batcher_of(engine).submit([]) == []
        assert engine.batches == []

    run(main())


def test_the_wait_for_the_batch_is_measured_per_item() -> None:
    async def main() -> None:
        engine = GatedEngine(gate=asyncio.Event())
        batcher = batcher_of(engine, size=1)
        call = asyncio.create_task(batcher.submit([("a", 1), ("b", 1)]))
        await turns()
        await asyncio.sleep(0.02)  # not for a condition: it is what is measured
        engine.gate.set()
        first, second = await call

        assert first.queue_ms < 20 <= second.queue_ms

    run(main())
