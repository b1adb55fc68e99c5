"""Background items in the batcher: live ones go first, and what gives way is still answered, once."""

import asyncio
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.serving.gated_engine import GatedEngine, batcher_of, run, turns
from workers.guard.lane import Lane
from workers.serving.batching.batcher import Batched

Call = tuple[bool, list[int], int, bool]
CALL = st.tuples(st.booleans(), st.lists(st.integers(1, 40), max_size=6), st.integers(0, 4), st.booleans())


class WatchedEngine(GatedEngine):
    """Looks at what waits when a batch begins."""

    def __init__(self) -> None:
        super().__init__()
        self.expected: dict[str, None] = {}  # live items that have not begun, in the order of their arrival

    async def __call__(self, groups: Sequence[Sequence[str]]) -> list[str]:
        items = [item for group in groups for item in group]
        live = [item for item in items if item.startswith("live")]
        assert items[: len(live)] == live == list(self.expected)[: len(live)], "live items come first, and in order"
        for item in live:
            del self.expected[item]
        assert live == items or self.expected == {}, "background began while a live item waited"
        return await super().__call__(groups)


@given(
    calls=st.lists(CALL, min_size=1, max_size=14),
    tokens=st.integers(1, 100),
    few=st.integers(1, 50),
    share=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)
@settings(max_examples=250, deadline=None, derandomize=True)
def test_p9_no_live_item_waits_behind_background_and_every_call_ends_once(
    calls: list[Call], tokens: int, few: int, share: float
) -> None:
    """Each call: whether it is background, the tokens of its items, turns until the next, and whether it gives up."""
    engine = WatchedEngine()
    work = [
        [(f"{'back' if background else 'live'} {number}.{place}", cost) for place, cost in enumerate(costs)]
        for number, (background, costs, *_) in enumerate(calls)
    ]

    async def main() -> None:
        batcher = batcher_of(engine, tokens=tokens, size=5, background_tokens=few, share=share)

        async def ask(items: list[tuple[str, int]], background: bool) -> list[Batched[str]]:
            if not background:
                engine.expected.update(dict.fromkeys(name for name, _ in items))
            return await batcher.submit(items, lane=Lane.BACKGROUND if background else Lane.LIVE)

        tasks = []
        for items, (background, _, pause, gives_up) in zip(work, calls, strict=True):
            tasks.append(asyncio.create_task(ask(items, background)))
            await turns(pause)
            if background and gives_up:
                tasks[-1].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for result, items, (background, _, _, gives_up) in zip(results, work, calls, strict=True):
            if isinstance(result, BaseException):
                assert isinstance(result, asyncio.CancelledError)
                assert background
                assert gives_up
            else:
                assert [answer for answer, *_ in result] == [f"answer to {name}" for name, _ in items]
        await turns()
        assert (batcher.waiting(), batcher.waiting(Lane.BACKGROUND)) == (0, 0)

    run(main())

    cost = dict(item for items in work for item in items)
    ran = [item for batch in engine.batches for item in batch]
    assert len(ran) == len(set(ran)), "an item was run twice"
    earned = rode = 0.0
    for batch in engine.batches:
        budget = few if batch[0].startswith("back") else tokens
        assert len(batch) == 1 or max(map(cost.__getitem__, batch)) * len(batch) <= budget
        if batch[0].startswith("live"):
            earned += share * sum(cost[item] for item in batch if item.startswith("live"))
            rode += sum(cost[item] for item in batch if item.startswith("back"))
            assert rode <= earned + 1e-9, "background rode along beyond its share"


def test_background_is_not_starved_by_live_batches_without_a_gap() -> None:
    async def main() -> None:
        engine = GatedEngine(gate=asyncio.Event())
        batcher = batcher_of(engine, share=0.25)
        calls = [asyncio.create_task(batcher.submit([("live0", 2)]))]
        await turns()
        calls.append(asyncio.create_task(batcher.submit([("back0", 2), ("back1", 2)], lane=Lane.BACKGROUND)))
        for number in range(1, 9):
            calls.append(asyncio.create_task(batcher.submit([(f"live{number}", 2)])))
            await turns()
            gate, engine.gate = engine.gate, asyncio.Event()
            gate.set()
            await turns()
        engine.gate.set()
        await asyncio.gather(*calls)

        assert engine.batches[:4] == [["live0"], ["live1"], ["live2"], ["live3"]]
        assert engine.batches[4:] == [["live4", "back0"], ["live5"], ["live6"], ["live7"], ["live8", "back1"]]

    run(main())


def test_a_live_item_that_comes_while_background_runs_is_in_the_very_next_batch() -> None:
    async def main() -> None:
        engine = GatedEngine(gate=asyncio.Event())
        batcher = batcher_of(engine, background_tokens=2)
        back = asyncio.create_task(batcher.submit([(f"back{n}", 1) for n in range(6)], lane=Lane.BACKGROUND))
        await turns()
        live = asyncio.create_task(batcher.submit([("live", 1)]))
        await turns()
        assert (batcher.waiting(), batcher.waiting(Lane.BACKGROUND)) == (1, 4)
        engine.gate.set()
        await asyncio.gather(back, live)

        assert engine.batches == [["back0", "back1"], ["live"], ["back2", "back3"], ["back4", "back5"]]

    run(main())


def test_p9_a_background_call_given_up_as_the_engine_becomes_free_takes_nobody_along() -> None:
    async def main() -> None:
        engine = GatedEngine(gate=asyncio.Event())
        batcher = batcher_of(engine)
        running = asyncio.create_task(batcher.submit([("running", 1)]))
        await turns()
        given_up, kept = (
            asyncio.create_task(batcher.submit([(name, 1)], lane=Lane.BACKGROUND)) for name in ("up", "kept")
        )
        await turns()
        engine.gate.set()  # the engine takes its next batch before the cancelled call comes to clean up
        given_up.cancel()
        await asyncio.gather(running, kept)

        assert engine.batches == [["running"], ["kept"]]

    run(main())


def test_p6_a_background_call_that_raises_harms_no_other_and_is_not_run_again() -> None:
    async def main() -> None:
        engine = GatedEngine(lambda batch: "bad" in batch)
        batcher = batcher_of(engine)
        first, second = await asyncio.gather(
            batcher.submit([("bad", 1), ("beside", 1)], lane=Lane.BACKGROUND),
            batcher.submit([("good", 1)], lane=Lane.BACKGROUND),
            return_exceptions=True,
        )

        assert isinstance(first, RuntimeError)
        assert not isinstance(second, BaseException)
        assert engine.batches == [["bad", "beside"], ["good"]]

    run(main())


def test_equal_items_of_both_kinds_are_run_once() -> None:
    async def main() -> None:
        engine = GatedEngine(gate=asyncio.Event())
        batcher = batcher_of(engine)
        running = asyncio.create_task(batcher.submit([("same:back", 1)], lane=Lane.BACKGROUND))
        await turns()
        live = asyncio.create_task(batcher.submit([("same:live", 1)]))
        await turns()
        engine.gate.set()
        await running

        assert [(item.answer, item.is_shared) for item in await live] == [("answer to same", True)]
        assert engine.batches == [["same:back"]]

    run(main())
