"""Asks go first and live keeps its share, whatever is asked (decision 0025)."""

from collections.abc import Hashable, Iterator
from itertools import takewhile

import pytest

from workers.guard.lane import Lane
from workers.serving.batching.lanes import PATIENCE, TICK_S, Bounds, Lanes
from workers.serving.batching.live_load import LATELY_S

TOKENS, SIZE, SHARE = 20_000, 200, 0.25
PASS_S, TOKEN_S = 0.01, 1e-5


class Entry:
    """What waits."""

    is_done = False

    def __init__(self, lane: Lane, tokens: int, call: object = None) -> None:
        self.lane = lane
        self.tokens = tokens
        self.key: Hashable = object()
        self.call = call or object()


class Engine:
    """What takes batches, each in the time that its tokens need: one after another, or in several places at once."""

    def __init__(self, concurrency: int = 1) -> None:
        self.now = 0.0
        self._places = concurrency
        bounds = Bounds(TOKENS, SIZE, 100, 0.1, SHARE, concurrency)
        self.lanes: Lanes[Entry] = Lanes(bounds, lambda: self.now)
        for tokens in (100, 1_000):
            self.lanes.cost.note(tokens, PASS_S + TOKEN_S * tokens)

    def come(self, lane: Lane, *tokens: int) -> None:
        """A call comes."""
        call = object()
        self.lanes.add([Entry(lane, each, call) for each in tokens], lane)

    def take(self, **under_way: int) -> dict[Lane, list[int]]:
        """Tokens of the next batch's items."""
        batch = self.lanes.take({}, {Lane(lane): count for lane, count in under_way.items()})
        self.now += (PASS_S + TOKEN_S * sum(entry.tokens for entry in batch)) / self._places
        return {lane: found for lane in Lane if (found := [entry.tokens for entry in batch if entry.lane is lane])}


@pytest.fixture
def engine() -> Engine:
    return Engine()


def test_an_ask_is_in_the_next_batch_however_much_live_waits(engine: Engine) -> None:
    engine.come(Lane.LIVE, *[100] * 500)
    engine.take()
    engine.come(Lane.ASK, 100)

    batch = engine.take()

    assert batch[Lane.ASK] == [100]
    assert len(batch[Lane.LIVE]) == SIZE - 1


@pytest.mark.parametrize("places", [1, 4])
def test_where_both_are_more_than_the_engine_can_do_live_keeps_its_share(places: int) -> None:
    engine = Engine(places)
    engine.come(Lane.LIVE, *[100] * 9_000)
    engine.come(Lane.ASK, *[100] * 9_000)
    done = {Lane.ASK: 0, Lane.LIVE: 0}
    for _ in range(50):
        for lane, tokens in engine.take().items():
            done[lane] += sum(tokens)

    assert done[Lane.ASK] / done[Lane.LIVE] == pytest.approx(SHARE, rel=0.05)


@pytest.mark.parametrize(("busy", "rode"), [(0.2, 0.8), (0.6, 0.4), (0.8, 0.2)])
def test_a_batch_of_live_is_lengthened_by_a_share_of_what_the_engine_has_to_spare(busy: float, rode: float) -> None:
    engine = Engine()
    engine.come(Lane.ASK, *[10] * 90_000)
    live, asked = [], []
    for _ in range(400):
        engine.come(Lane.LIVE, *[100] * round(busy / TOKEN_S * 0.1 / 100))
        since = engine.now
        batch = engine.take()
        live.append(PASS_S + TOKEN_S * sum(batch[Lane.LIVE]))
        asked.append(TOKEN_S * sum(batch.get(Lane.ASK, ())))
        engine.now = since + 0.1

    assert sum(asked[200:]) == pytest.approx(SHARE * rode * sum(live[200:]), rel=0.15)
    assert max(asked[5:]) <= SHARE * max(live)


def test_a_batch_of_asks_alone_is_hardly_longer_than_one_of_live_as_long_as_live_has_come_lately(
    engine: Engine,
) -> None:
    engine.come(Lane.ASK, *[100] * 500)
    assert len(engine.take()[Lane.ASK]) == SIZE

    engine.come(Lane.LIVE, 1_000)
    engine.take()
    engine.now += LATELY_S / 2
    alone_s = PASS_S + TOKEN_S * 1_000
    assert PASS_S + TOKEN_S * sum(engine.take()[Lane.ASK]) == pytest.approx((1 + SHARE) * alone_s, abs=TOKEN_S * 101)

    engine.now += LATELY_S
    assert len(engine.take()[Lane.ASK]) == SIZE


def test_equal_live_items_are_one_to_the_engine_and_one_in_what_live_takes(engine: Engine) -> None:
    same = [Entry(Lane.LIVE, 1_000) for _ in range(8)]
    for entry in same:
        entry.key = "same"
    engine.lanes.add(same, Lane.LIVE)
    assert len(engine.lanes.take({}, {})) == 8
    engine.come(Lane.ASK, *[100] * 500)

    alone_s = PASS_S + TOKEN_S * 1_000
    assert PASS_S + TOKEN_S * sum(engine.take()[Lane.ASK]) == pytest.approx((1 + SHARE) * alone_s, abs=TOKEN_S * 101)


def test_an_ask_too_long_for_company_waits_for_a_time_without_live_but_not_for_ever(engine: Engine) -> None:
    engine.come(Lane.ASK, 3_000, 3_000)
    engine.come(Lane.LIVE, 1_000)
    assert engine.take() == {Lane.ASK: [3_000], Lane.LIVE: [1_000]}, "none has gone before"

    def batches() -> Iterator[dict[Lane, list[int]]]:
        while True:
            engine.come(Lane.LIVE, 1_000)
            yield engine.take()

    before = list(takewhile(lambda batch: Lane.ASK not in batch, batches()))

    assert before == [{Lane.LIVE: [1_000]}] * len(before)
    live_s, ask_s = PASS_S + TOKEN_S * 1_000, TOKEN_S * 3_000
    spare = 1 - TOKEN_S * 1_000 / live_s  # once so much has come that it is known
    assert PATIENCE * ask_s / SHARE < live_s * len(before) < PATIENCE * ask_s / (SHARE * spare)


def test_an_ask_too_long_for_company_goes_in_its_turn_as_soon_as_no_live_item_waits(engine: Engine) -> None:
    engine.come(Lane.ASK, *[3_000] * 4)
    engine.come(Lane.LIVE, 1_000)
    engine.take()
    for _ in range(3):
        engine.come(Lane.LIVE, 1_000)
        assert engine.take() == {Lane.LIVE: [1_000]}
        assert engine.take() == {}
        engine.now += engine.lanes.rest_s()
        assert engine.take() == {Lane.ASK: [3_000]}


def test_asks_alone_have_a_share_of_the_time() -> None:
    engine = Engine()
    engine.come(Lane.ASK, *[9_000] * 9)
    engine.come(Lane.LIVE, 9_000)
    engine.take()
    turn_s = TOKEN_S * 9_000 / SHARE

    assert engine.take() == {}
    assert engine.now + engine.lanes.rest_s() == pytest.approx(turn_s + TICK_S)
    engine.come(Lane.LIVE, 9_000)
    assert engine.take() == {Lane.LIVE: [9_000]}, "at once"
    engine.now += engine.lanes.rest_s()
    assert engine.take() == {Lane.ASK: [9_000]}

    engine.now += LATELY_S
    assert engine.lanes.rest_s() == 0, "no live comes"
    assert [engine.take(), engine.take()] == [{Lane.ASK: [9_000, 9_000]}] * 2


def test_asks_alone_have_as_much_of_the_time_as_live_takes() -> None:
    engine = Engine()
    engine.come(Lane.ASK, *[500] * 9_000)
    asked = live = 0.0
    while engine.now < 20:
        engine.come(Lane.LIVE, 4_000)
        ends = engine.now + 0.1  # busy 0.4
        while engine.now < ends:
            batch = engine.take()
            asked += TOKEN_S * sum(batch.get(Lane.ASK, ()))
            live += TOKEN_S * sum(batch.get(Lane.LIVE, ()))
            engine.now = engine.now if batch else min(ends, engine.now + engine.lanes.rest_s())

    assert asked == pytest.approx(live, rel=0.2)


def test_asks_do_not_rest_before_the_cost_of_a_pass_is_known() -> None:
    lanes = Lanes[Entry](Bounds(TOKENS, SIZE), lambda: 0.0)
    lanes.add([Entry(Lane.LIVE, 1)], Lane.LIVE)
    lanes.take({}, {})
    lanes.add([Entry(Lane.ASK, 100_000) for _ in range(3)], Lane.ASK)
    assert [len(lanes.take({}, {})), lanes.rest_s()] == [1, 0.0]

    lanes.cost.note(100_000, 60.0)
    assert [len(lanes.take({}, {})), lanes.rest_s()] == [0, pytest.approx(60.0 / 0.15, rel=0.01)]


def test_an_ask_that_finds_no_place_beside_live_is_saved_up_for_and_goes_alone(engine: Engine) -> None:
    engine.come(Lane.ASK, 50)
    batches: list[dict[Lane, list[int]]] = []
    while not batches or Lane.ASK not in batches[-1]:
        engine.come(Lane.LIVE, 12_000)
        batches.append(engine.take())

    assert batches[-1] == {Lane.ASK: [50]}
    assert batches[:-1] == [{Lane.LIVE: [12_000]}] * (len(batches) - 1)
    assert len(batches) <= 30


def test_asks_leave_a_place_free_for_live_and_background_has_what_both_leave() -> None:
    engine = Engine(concurrency=2)
    engine.come(Lane.BACKGROUND, 50)
    engine.come(Lane.ASK, *[12_000] * 4)
    assert [engine.take(), engine.take(ask=1)] == [{Lane.ASK: [12_000]}] * 2, "no live has come"

    engine.come(Lane.LIVE, 12_000)
    engine.take()
    assert engine.take(ask=1) == {}
    assert [engine.take(), engine.take()] == [{Lane.ASK: [12_000]}] * 2
    assert engine.take() == {Lane.BACKGROUND: [50]}


def test_a_cost_that_cannot_be_told_apart_is_that_of_tokens() -> None:
    engine = Engine()
    engine.lanes.cost.note(550, 0.02)
    assert engine.lanes.cost.of(0) == pytest.approx(PASS_S, rel=0.5)

    same = Lanes[Entry](Bounds(TOKENS, SIZE), lambda: 0.0).cost
    assert (same.of(7), same.token_s) == (7.0, 1.0)
    for _ in range(3):
        same.note(100, 0.5)
    assert (same.of(0), same.of(200)) == pytest.approx((0.0, 1.0))
