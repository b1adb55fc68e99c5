"""Equal items are run once, and yet no call gets the error or the cancellation of another (P6)."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.serving.gated_engine import GatedEngine, batcher_of, key_of, run, turns


def is_poisoned(batch: Sequence[str]) -> bool:
    return any(item.startswith("poison") for item in batch)


def test_equal_items_of_one_call_are_run_once_and_take_one_place_of_the_budget() -> None:
    async def main() -> None:
        engine = GatedEngine()
        batched = await batcher_of(engine, size=2, tokens=2).submit([("a:1", 1), ("b:1", 1), ("a:2", 1), ("b:2", 1)])

        assert engine.groups == [[["a:1", "a:2"], ["b:1", "b:2"]]]
        assert [item.answer for item in batched] == ["answer to a", "answer to b", "answer to a", "answer to b"]
        assert [item.is_shared for item in batched] == [False, False, True, True]

    run(main())


@pytest.mark.parametrize("size", [1, 2, 10])
def test_equal_items_of_calls_that_wait_are_run_once_wherever_they_wait(size: int) -> None:
    async def main() -> None:
        engine = GatedEngine(gate=asyncio.Event())
        batcher = batcher_of(engine, size=size)
        first = asyncio.create_task(batcher.submit([("first", 1)]))
        await turns()
        calls = [asyncio.create_task(batcher.submit([(f"own-{call}", 1), (f"same:{call}", 1)])) for call in range(5)]
        await turns()
        engine.gate.set()
        await first
        answered = await asyncio.gather(*calls)

        ran = [key_of(item) for batch in engine.batches for item in batch]
        assert sorted(ran) == sorted(["first", "same", *(f"own-{call}" for call in range(5))])
        assert [[item.answer for item in items] for items in answered] == [
            [f"answer to own-{call}", "answer to same"] for call in range(5)
        ]
        assert [items[1].is_shared for items in answered] == [False, True, True, True, True]
        assert batcher.waiting() == 0

    run(main())


def test_an_item_that_comes_while_an_equal_one_runs_gets_its_answer_and_has_not_waited_for_a_batch() -> None:
    async def main() -> None:
        engine = GatedEngine(gate=asyncio.Event())
        batcher = batcher_of(engine)
        first = asyncio.create_task(batcher.submit([("a:1", 1)]))
        await turns()
        second = asyncio.create_task(batcher.submit([("a:2", 1)]))
        await turns()
        assert batcher.waiting() == 1
        engine.gate.set()
        await first

        assert await second == [("answer to a", 0.0, True)]
        assert engine.batches == [["a:1"]]

    run(main())


def test_p9_what_was_answered_by_an_equal_item_waits_no_longer_although_the_engine_hangs() -> None:
    async def main() -> None:
        engine = GatedEngine()
        gate = engine.gate = asyncio.Event()
        batcher = batcher_of(engine, size=1)
        calls = [asyncio.create_task(batcher.submit([(item, 1)])) for item in ("a:1", "b", "c", "a:2")]
        await turns()
        hanging = engine.gate = asyncio.Event()
        gate.set()

        assert [item.answer for item in await calls[3]] == ["answer to a"]
        assert (engine.batches, batcher.waiting()) == ([["a:1"], ["b"]], 1)
        hanging.set()
        await asyncio.gather(*calls)

    run(main())


def test_nothing_is_kept_for_an_item_that_comes_later() -> None:
    async def main() -> None:
        engine = GatedEngine()
        batcher = batcher_of(engine)
        await batcher.submit([("a:1", 1)])
        await batcher.submit([("a:2", 1)])

        assert engine.batches == [["a:1"], ["a:2"]]

    run(main())


@pytest.mark.parametrize("first_runs", [False, True])
def test_p6_a_cancelled_call_leaves_the_equal_item_of_another_its_answer(first_runs: bool) -> None:
    async def main() -> None:
        engine = GatedEngine(gate=asyncio.Event())
        batcher = batcher_of(engine)
        blocking = None if first_runs else asyncio.create_task(batcher.submit([("blocking", 1)]))
        await turns()
        first = asyncio.create_task(batcher.submit([("a:1", 1)]))
        await turns()
        second = asyncio.create_task(batcher.submit([("a:2", 1)]))
        await turns()
        first.cancel()
        await turns()
        engine.gate.set()

        assert [item.answer for item in await second] == ["answer to a"]
        with pytest.raises(asyncio.CancelledError):
            await first
        if blocking:
            await blocking
        assert engine.batches[-1] == (["a:1"] if first_runs else ["a:2"])

    run(main())


def test_p6_a_call_is_not_failed_by_the_call_whose_equal_item_was_run_for_both() -> None:
    async def main() -> None:
        engine = GatedEngine(is_poisoned)
        batcher = batcher_of(engine)
        bad, good = (
            asyncio.create_task(batcher.submit(items))
            for items in ([("same:bad", 1), ("poison", 1)], [("same:good", 1), ("other", 1)])
        )

        assert [item.answer for item in await good] == ["answer to same", "answer to other"]
        with pytest.raises(RuntimeError, match="engine"):
            await bad

    run(main())


def test_p6_a_call_that_waits_is_not_failed_by_an_equal_item_that_runs_and_raises() -> None:
    async def main() -> None:
        engine = GatedEngine(is_poisoned)
        engine.gate = asyncio.Event()
        batcher = batcher_of(engine)
        bad = asyncio.create_task(batcher.submit([("same:bad", 1), ("poison", 1)]))
        await turns()
        good = asyncio.create_task(batcher.submit([("same:good", 1)]))
        await turns()
        engine.gate.set()

        assert await good == [("answer to same", pytest.approx(0, abs=5000), False)]
        assert engine.batches == [["same:bad", "poison"], ["same:good"]]
        with pytest.raises(RuntimeError, match="engine"):
            await bad

    run(main())


CALL = st.lists(st.sampled_from(["a", "b", "c", "d", "poison-1", "poison-2"]), min_size=1, max_size=5)


@given(
    calls=st.lists(st.tuples(CALL, st.integers(0, 4), st.booleans()), min_size=1, max_size=12),
    size=st.integers(1, 6),
)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_p6_whatever_is_shared_a_call_fails_by_its_own_items_or_not_at_all(
    calls: list[tuple[list[str], int, bool]], size: int
) -> None:
    engine = GatedEngine(is_poisoned)

    async def main() -> None:
        batcher = batcher_of(engine, size=size)
        tasks = []
        for number, (keys, pause, is_cancelled) in enumerate(calls):
            tasks.append(asyncio.create_task(batcher.submit([(f"{key}:{number}", 1) for key in keys])))
            await turns(pause)
            if is_cancelled:
                tasks[number // 2].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        runs = 0
        for (keys, _, _), task, result in zip(calls, tasks, results, strict=True):
            if task.cancelled():
                continue
            if is_poisoned(keys):
                assert isinstance(result, RuntimeError)
            else:
                assert isinstance(result, list)
                assert [item.answer for item in result] == [f"answer to {key}" for key in keys]
                runs += sum(not item.is_shared for item in result)
        assert batcher.waiting() == 0
        assert runs <= sum(len(batch) for batch in engine.batches)

    run(main())

    for groups in engine.groups:
        keys = [key_of(group[0]) for group in groups]
        assert len(keys) == len(set(keys)) <= size, "equal items are one group"
        assert all(key_of(item) == key for key, group in zip(keys, groups, strict=True) for item in group)
