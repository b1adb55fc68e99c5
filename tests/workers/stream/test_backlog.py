"""The effective backlog on real brokers: records not finished, whatever is committed, and how old the oldest is."""

import time
from collections import deque
from collections.abc import Sequence

import pytest

from pipelines.guard import GuardRequest
from tests.guards.scripted_guard import Gate, ScriptedGuard, text_of
from tests.site import Site, event, wait_until
from workers.kafka.producer import producer
from workers.stream.backlog import Backlog, BacklogFigures, _note, _rate
from workers.stream.worker import StreamWorker

TO_COME_MS = int(time.time() * 1000) + 3_000_000  # brokers refuse more than an hour


def figures(worker: StreamWorker) -> BacklogFigures:
    known = worker.backlog.figures()
    assert known is not None
    return known


def test_what_is_in_flight_and_what_is_not_delivered_yet_are_unfinished_until_completed(site: Site) -> None:
    gate = Gate()

    async def script(_: object) -> None:
        await gate.passed()

    started = time.time()
    site.produce([event(f"e{n}") for n in range(100)])
    settings = site.settings_with(limits={"in_flight_records": 16})
    worker = site.start(ScriptedGuard(script=script), settings)

    wait_until(lambda: (known := worker.backlog.figures()) is not None and known.records == 100, "a backlog of 100")
    held = figures(worker)
    assert worker.in_flight < 100
    assert (held.partitions, held.all_partitions) == (4, 4)
    assert held.oldest_age_s is not None
    assert held.oldest_age_s <= time.time() - started + 1

    gate.open()
    site.wait_for(100)
    wait_until(lambda: figures(worker).records == 0, "an empty backlog")
    assert figures(worker).oldest_age_s == 0


def test_a_slow_record_holds_the_commit_but_its_finished_partitions_are_no_backlog(site: Site) -> None:
    gate = Gate()

    async def script(requests: Sequence[GuardRequest]) -> None:
        if any(text_of(request) == "slow" for request in requests):
            await gate.passed()

    worker = site.start(ScriptedGuard(script=script), site.settings_with(delivery={"chunk_size": 1}))
    site.produce([event("slow", "slow"), *(event(f"e{n}") for n in range(1, 100))])

    def behind_the_slow_one() -> int:
        return 100 - worker.progress.completed

    wait_until(lambda: worker.progress.completed >= 60, "the other partitions to be done")
    wait_until(
        lambda: (known := worker.backlog.figures()) is not None and known.records == behind_the_slow_one(),
        "the backlog to be what is not completed",
    )
    first = figures(worker).oldest_age_s
    assert first is not None
    wait_until(lambda: (figures(worker).oldest_age_s or 0) > first + 0.5, "the oldest to grow older")
    gate.open()
    wait_until(lambda: figures(worker).records == 0, "an empty backlog")


@pytest.mark.parametrize("stamp_ms", [-1, -(2**62), 0, TO_COME_MS], ids=["none", "hostile", "zero", "to come"])
def test_a_record_without_a_timestamp_that_can_be_true_is_as_old_as_its_poll(site: Site, stamp_ms: int) -> None:
    gate = Gate()

    async def script(_: object) -> None:
        await gate.passed()

    started = time.time()
    sender = producer(site.settings.kafka)
    sender.send(site.names[0], event("e"), b"k", timestamp_ms=stamp_ms).get(10)
    sender.close()
    worker = site.start(ScriptedGuard(script=script))

    wait_until(lambda: (known := worker.backlog.figures()) is not None and bool(known.oldest_age_s), "an age")
    first = figures(worker).oldest_age_s or 0.0
    assert site.records(0)[0].timestamp_ms == stamp_ms
    assert first <= time.time() - started + 1
    wait_until(lambda: (figures(worker).oldest_age_s or 0.0) > first + 0.5, "it to grow older")
    gate.open()
    wait_until(lambda: figures(worker).records == 0, "an empty backlog")


def test_a_record_with_a_time_of_long_ago_is_no_older_than_the_look_before_it_came(site: Site) -> None:
    gate = Gate()

    async def script(_: object) -> None:
        await gate.passed()

    worker = site.start(ScriptedGuard(script=script))
    wait_until(lambda: worker.backlog.figures() is not None, "a look at empty partitions")
    long_ago_ms = int(time.time() * 1000) - 3_600_000
    sender = producer(site.settings.kafka)
    sender.send(site.names[0], event("e"), b"k", timestamp_ms=long_ago_ms).get(10)
    sender.close()

    wait_until(lambda: (known := worker.backlog.figures()) is not None and bool(known.oldest_age_s), "an age")
    assert (figures(worker).oldest_age_s or 0.0) < 60
    gate.open()
    wait_until(lambda: figures(worker).records == 0, "an empty backlog")


def test_arrivals_and_completions_are_rates(site: Site) -> None:
    worker = site.start(ScriptedGuard())
    wait_until(
        lambda: (known := worker.backlog.figures()) is not None and known[2:] == (0.0, 0.0, 4, 4), "two quiet looks"
    )

    site.produce([event(f"e{n}") for n in range(50)])

    wait_until(lambda: (figures(worker).arrival_rate or 0) >= 50 / 8, "arrivals")
    wait_until(lambda: (figures(worker).completion_rate or 0) >= 50 / 8, "completions")
    wait_until(lambda: figures(worker).records == 0, "an empty backlog")
    assert worker.progress.completed == 50


def test_figures_grow_stale_when_nobody_measures(site: Site) -> None:
    worker = site.start(ScriptedGuard())
    wait_until(lambda: worker.backlog.figures() is not None, "figures")
    backlog: Backlog = worker.backlog

    worker.stop(10)
    assert backlog.figures() is not None
    backlog._clock = lambda: time.monotonic() + 11  # noqa: SLF001 - time in the test's hand

    assert backlog.figures() is None


def test_a_rate_forgets_what_is_older_than_its_window() -> None:
    samples: deque[tuple[float, int]] = deque()
    _note(samples, 0.0, 0)
    assert _rate(samples) is None
    for second in range(1, 31):
        _note(samples, float(second), 10 * second if second > 25 else 0)

    assert _rate(samples) == 300 / 5
