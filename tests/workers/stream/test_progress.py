"""Alive means progressing (P12), and waiting for what is known to be down is not being stuck (P5)."""

import pytest

from workers.stream.progress import Progress, stuck_reason

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
    assert stuck_reason(progress, clock.now, TIMEOUT_S, 0) is None

    clock.now += 1

    assert stuck_reason(progress, clock.now, TIMEOUT_S, 0) == "the loop has not turned for 61 s"
    assert stuck_reason(progress, clock.now, TIMEOUT_S, 5) == "the loop has not turned for 61 s"


def test_p12_a_loop_that_turns_without_completing_anything_is_stuck(clock: Clock, progress: Progress) -> None:
    clock.now += TIMEOUT_S + 1
    progress.beat()

    assert stuck_reason(progress, clock.now, TIMEOUT_S, 7) == "7 records in flight and none completed for 61 s"


def test_p12_an_idle_worker_is_not_stuck(clock: Clock, progress: Progress) -> None:
    clock.now += 1_000_000
    progress.beat()

    assert stuck_reason(progress, clock.now, TIMEOUT_S, 0) is None


def test_p12_a_completed_record_is_progress(clock: Clock, progress: Progress) -> None:
    clock.now += TIMEOUT_S + 1
    progress.beat()
    progress.advanced(3)

    assert stuck_reason(progress, clock.now, TIMEOUT_S, 7) is None
    assert progress.completed == 3


def test_p12_the_first_record_after_an_idle_time_has_the_whole_time(clock: Clock, progress: Progress) -> None:
    clock.now += 1_000_000
    progress.advanced()
    progress.beat()

    assert stuck_reason(progress, clock.now, TIMEOUT_S, 1) is None
    assert progress.completed == 0


def test_p5_a_hold_on_what_is_down_is_not_being_stuck_as_long_as_it_is_renewed(
    clock: Clock, progress: Progress
) -> None:
    for _ in range(20):
        clock.now += TIMEOUT_S - 1
        progress.beat()
        progress.held()
        assert stuck_reason(progress, clock.now, TIMEOUT_S, 7) is None


def test_p12_a_hold_that_is_not_renewed_does_not_excuse_for_ever(clock: Clock, progress: Progress) -> None:
    progress.held()
    clock.now += TIMEOUT_S + 1
    progress.beat()

    assert stuck_reason(progress, clock.now, TIMEOUT_S, 7) is not None


def test_p12_a_hold_does_not_excuse_a_loop_that_does_not_turn(clock: Clock, progress: Progress) -> None:
    clock.now += TIMEOUT_S + 1
    progress.held()

    assert stuck_reason(progress, clock.now, TIMEOUT_S, 7) == "the loop has not turned for 61 s"


def test_p12_a_worker_that_is_used_to_quick_records_is_stuck_sooner(clock: Clock, progress: Progress) -> None:
    for _ in range(500):
        clock.now += 0.75
        progress.advanced(10)
    clock.now += 15
    progress.beat()
    assert stuck_reason(progress, clock.now, TIMEOUT_S, 7, 20) is None
    clock.now += 0.125

    assert stuck_reason(progress, clock.now, TIMEOUT_S, 7, 20) == "7 records in flight and none completed for 15 s"
    assert stuck_reason(progress, clock.now, TIMEOUT_S, 0, 20) is None


def test_p12_nobody_is_stuck_within_ten_seconds(clock: Clock, progress: Progress) -> None:
    clock.now += 0.001
    progress.advanced(1)
    clock.now += 10
    progress.beat()

    assert stuck_reason(progress, clock.now, TIMEOUT_S, 7, 20) is None


def test_p12_a_long_wait_is_remembered_for_a_while_but_not_for_ever(clock: Clock, progress: Progress) -> None:
    clock.now += 3
    progress.advanced(1)
    for waits, expected in ((50, None), (250, "7 records in flight and none completed for 20 s")):
        for _ in range(waits):
            clock.now += 0.01
            progress.advanced(1)
        clock.now += 20
        progress.beat()
        assert stuck_reason(progress, clock.now, TIMEOUT_S, 7, 20) == expected
        progress.advanced()


def test_p5_waiting_for_what_is_down_is_not_what_a_record_usually_takes(clock: Clock, progress: Progress) -> None:
    clock.now += 50
    progress.held()
    clock.now += 0.5
    progress.advanced(1)
    clock.now += 11
    progress.beat()

    assert stuck_reason(progress, clock.now, TIMEOUT_S, 7, 20) is not None
