"""Limits on what is in flight (P9): any of the three figures pauses, all three must fall before intake resumes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.in_flight import InFlightLimits, Load

LIMIT = Load(10, 1_000, 100)


@pytest.mark.parametrize(
    ("records", "bytes_", "tokens"), [(10, 1, 1), (1, 1_000, 1), (1, 1, 100), (1, 5_000, 1), (1, 0, 7_777)]
)
def test_p9_each_figure_alone_pauses_when_it_reaches_its_limit(records: int, bytes_: int, tokens: int) -> None:
    limits = InFlightLimits(LIMIT, 0.5)
    for _ in range(records):
        assert not limits.is_full
        limits.add(bytes_, tokens)

    assert limits.is_full
    assert limits.room == 0


def test_p9_a_paused_intake_resumes_only_at_the_share_and_not_just_below_the_limit() -> None:
    limits = InFlightLimits(LIMIT, 0.5)
    for _ in range(10):
        limits.add(1, 1)
    for left in range(9, 5, -1):
        limits.remove(1, 1)
        assert limits.is_full, f"{left} records are left"
    limits.remove(1, 1)

    assert not limits.is_full
    assert limits.room == 5


@pytest.mark.parametrize("heavy", [(501, 0), (0, 51)])
def test_p9_one_figure_above_its_share_keeps_the_intake_paused(heavy: tuple[int, int]) -> None:
    limits = InFlightLimits(LIMIT, 0.5)
    limits.add(*heavy)
    limits.add(1_000, 100)
    limits.remove(1_000, 100)
    assert limits.is_full

    limits.remove(*heavy)

    assert not limits.is_full


def test_p9_room_is_what_is_left_of_the_records() -> None:
    limits = InFlightLimits(LIMIT, 0.5)
    limits.add(1, 1)

    assert limits.room == 9


@given(
    limit=st.builds(Load, st.integers(1, 20), st.integers(1, 200), st.integers(1, 200)),
    ratio=st.floats(0.01, 0.99),
    sizes=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=60),
    data=st.data(),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_p9_an_intake_that_asks_first_never_passes_a_limit_by_more_than_one_record(
    limit: Load, ratio: float, sizes: list[tuple[int, int]], data: st.DataObject
) -> None:
    limits, held = InFlightLimits(limit, ratio), []
    for size in sizes:
        if limits.room:
            limits.add(*size)
            held.append(size)
        elif held:
            limits.remove(*held.pop(data.draw(st.integers(0, len(held) - 1))))
        assert limits.records == len(held) <= limit.records
        assert limits.bytes == sum(bytes_ for bytes_, _ in held) < limit.bytes + max(sizes)[0] + 1
    while held:
        limits.remove(*held.pop())

    assert (limits.records, limits.bytes, limits.tokens, limits.is_full) == (0, 0, 0, False)
