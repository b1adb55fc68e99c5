"""The share of time that an engine works, with the time in the test's hand."""

from workers.serving.busy_share import BusyShare


class Clock:
    """A clock that the test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_it_is_the_share_of_the_last_ten_seconds() -> None:
    clock = Clock()
    busy = BusyShare(clock)
    assert busy.share() is None
    for _ in range(20):
        busy.begin()
        clock.now += 0.5
        busy.end()
        clock.now += 0.5
        share = busy.share()
        assert share is not None
        assert abs(share - 0.5) < 0.01
    for _ in range(12):
        clock.now += 1
        busy.share()
    assert busy.share() == 0


def test_a_batch_that_runs_counts_although_it_has_not_ended() -> None:
    clock = Clock()
    busy = BusyShare(clock)
    busy.begin()
    for _ in range(30):
        clock.now += 1
        assert busy.share() == 1.0


def test_an_engine_with_half_of_its_slots_busy_works_half_of_its_time() -> None:
    clock = Clock()
    busy = BusyShare(clock, slots=4)
    busy.begin()
    busy.begin()
    for _ in range(12):
        clock.now += 1
        busy.share()
    assert busy.share() == 0.5
    busy.end()
    busy.end()
    for _ in range(12):
        clock.now += 1
        busy.share()
    assert busy.share() == 0.0
