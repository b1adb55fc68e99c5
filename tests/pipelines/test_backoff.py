"""Waits: doubled, bounded, jittered, never ending, and short again after a success."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.backoff import Backoff


@given(initial=st.floats(0.001, 10), longest=st.floats(0.001, 100), seed=st.integers())
@settings(derandomize=True, deadline=None)
def test_p5_every_wait_lies_between_half_and_the_whole_of_its_doubled_ceiling(
    initial: float, longest: float, seed: int
) -> None:
    backoff = Backoff(initial, longest, random.Random(seed))
    for failures in range(40):
        ceiling = min(longest, initial * 2**failures)
        assert ceiling / 2 <= backoff.next_wait_s() <= ceiling


def test_p5_a_hold_of_any_length_goes_on_with_the_longest_wait() -> None:
    backoff = Backoff(0.1, 10.0, random.Random(1), failures=10**9)

    assert 5.0 <= backoff.next_wait_s() <= 10.0


def test_a_success_starts_over_with_the_first_wait() -> None:
    backoff = Backoff(1.0, 100.0, random.Random(1))
    for _ in range(5):
        backoff.next_wait_s()

    backoff.reset()

    assert 0.5 <= backoff.next_wait_s() <= 1.0


def test_two_workers_do_not_wait_in_step() -> None:
    first, second = (Backoff(1.0, 1.0, random.Random(seed)) for seed in (1, 2))

    assert [first.next_wait_s() for _ in range(5)] != [second.next_wait_s() for _ in range(5)]
