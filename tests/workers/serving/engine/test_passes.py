"""Cutting a batch into passes."""

import random

import pytest

from workers.serving.engine.passes import PassLimits, cut_into_passes


def _cut(lengths: list[int], limits: PassLimits) -> list[list[int]]:
    return list(cut_into_passes(lengths, limits))


def test_each_message_is_in_one_pass_and_no_pass_is_over_its_limits() -> None:
    chooser = random.Random(3)
    for _ in range(300):
        lengths = [int(chooser.lognormvariate(4.5, 0.8)) + 1 for _ in range(chooser.randint(0, 60))]
        limits = PassLimits(tokens=chooser.randint(1, 4000), rows=chooser.randint(1, 20), padding=chooser.random() / 3)
        passes = _cut(lengths, limits)
        assert sorted(index for indices in passes for index in indices) == list(range(len(lengths)))
        for indices in passes:
            longest = max(lengths[index] for index in indices)
            padding = 1 - sum(lengths[index] for index in indices) / (len(indices) * longest)
            assert len(indices) == 1 or len(indices) * longest <= limits.tokens
            assert len(indices) <= limits.rows
            assert padding <= limits.padding


def test_a_long_message_is_alone_and_first() -> None:
    limits = PassLimits(tokens=400, rows=8, padding=0.1)
    assert _cut([100, 5000, 100, 98], limits) == [[1], [0, 2, 3]]


@pytest.mark.parametrize(("small_rows", "expected"), [(1, [[0], [1], [2]]), (2, [[0, 1], [2]]), (3, [[0, 1, 2]])])
def test_a_small_pass_may_be_padded(small_rows: int, expected: list[list[int]]) -> None:
    limits = PassLimits(tokens=1000, rows=8, padding=0.1, small_rows=small_rows)
    assert _cut([100, 50, 20], limits) == expected
