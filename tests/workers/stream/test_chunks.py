"""Which records share a call of the guard: those of one partition where that costs no more calls than twice as many."""

from __future__ import annotations

from itertools import chain
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.stream.loop import Loop


def chunks(counts: list[int], size: int) -> list[list[Any]]:
    """The calls for so many records of each partition, as a poll gives them."""
    items = [
        SimpleNamespace(partition=partition, is_decided=False)
        for partition, count in enumerate(counts)
        for _ in range(count)
    ]
    asked: list[list[Any]] = []
    loop: Any = SimpleNamespace(
        limits=SimpleNamespace(records=1),
        decisions=SimpleNamespace(admit=lambda _: items),
        assignment=SimpleNamespace(taken=lambda _: None),
        calls=SimpleNamespace(ask=asked.append),
        chunk_size=size,
        _has_recalled=True,
    )
    Loop._take(loop, ["records"])  # type: ignore[list-item] # noqa: SLF001 - of which nothing else is asked
    assert list(chain.from_iterable(asked)) == items
    return asked


@pytest.mark.parametrize(
    ("counts", "sizes"),
    [
        ([200, 200], [64, 64, 64, 8 + 56, 64, 64, 16]),
        ([100, 100], [64, 36, 64, 36]),
        ([40, 40], [40, 40]),
        ([4, 4, 4, 4], [16]),
        ([20, 20, 20, 20], [60, 20]),
        ([64, 1], [64, 1]),
        ([1], [1]),
    ],
)
def test_p6_a_call_that_is_half_full_ends_where_a_partition_does(counts: list[int], sizes: list[int]) -> None:
    assert [len(chunk) for chunk in chunks(counts, 64)] == sizes


@given(st.lists(st.integers(0, 90), min_size=1, max_size=8), st.integers(1, 64))
def test_no_call_is_too_large_and_there_are_at_most_twice_as_many(counts: list[int], size: int) -> None:
    made = chunks(counts, size)

    assert all(0 < len(chunk) <= size for chunk in made)
    assert len(made) <= 2 * -(-sum(counts) // size)
