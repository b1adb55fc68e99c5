"""Alive means progressing (P12), and waiting for what is known to be down is not being stuck (P5)."""

import pytest

from workers.stream.progress import Progress

TIMEOUT_S = 60.0


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def progress(clock: Clock) -> Progress:
    return Progress(clock)


def test_p12_a_loop_that_does_not_turn_is_stuck_with_or_without_work(clock: Clock, progress: Progress) -> None:
    clock.now += TIMEOUT_S
    assert progress.stuck_reason(TIMEOUT_S, 0) is None

    clock.now += 1

    assert progress.stuck_reason(TIMEOUT_S, 0) == "the loop has not turned for 61 s"
    assert progress.stuck_reason(TIMEOUT_S, 5) == "the loop has not turned for 61 s"


def test_p12_a_loop_that_turns_without_completing_anything_is_stuck(clock: Clock, progress: Progress) -> None:
    clock.now += TIMEOUT_S + 1
    progress.beat()

    assert progress.stuck_reason(TIMEOUT_S, 7) == "7 records in flight and none completed for 61 s"


def test_p12_an_idle_worker_is_not_stuck(clock: Clock, progress: Progress) -> None:
    clock.now += 1_000_000
    progress.beat()

    assert progress.stuck_reason(TIMEOUT_S, 0) is None


def test_p12_a_completed_record_is_progress(clock: Clock, progress: Progress) -> None:
    clock.now += TIMEOUT_S + 1
    progress.beat()
    progress.advanced(3)

    assert progress.stuck_reason(TIMEOUT_S, 7) is None
    assert progress.completed == 3


def test_p12_the_first_record_after_an_idle_time_has_the_whole_time(clock: Clock, progress: Progress) -> None:
    clock.now += 1_000_000
    progress.advanced()
    progress.beat()

    assert progress.stuck_reason(TIMEOUT_S, 1) is None
    assert progress.completed == 0


def test_p5_a_hold_on_what_is_down_is_not_being_stuck_as_long_as_it_is_renewed(
    clock: Clock, progress: Progress
) -> None:
    for _ in range(20):
        clock.now += TIMEOUT_S - 1
        progress.beat()
        progress.held()
        assert progress.stuck_reason(TIMEOUT_S, 7) is None


def test_p12_a_hold_that_is_not_renewed_does_not_excuse_for_ever(clock: Clock, progress: Progress) -> None:
    progress.held()
    clock.now += TIMEOUT_S + 1
    progress.beat()

    assert progress.stuck_reason(TIMEOUT_S, 7) is not None


def test_p12_a_hold_does_not_excuse_a_loop_that_does_not_turn(clock: Clock, progress: Progress) -> None:
    clock.now += TIMEOUT_S + 1
    progress.held()

    assert progress.stuck_reason(TIMEOUT_S, 7) == "the loop has not turned for 61 s"
