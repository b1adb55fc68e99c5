"""An open breaker: nothing is released or committed, nothing is lost, and a person lets it go on."""

from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition

from schemas.reasons import Reason
from tests.guards.scripted_guard import SAFE, ScriptedGuard
from tests.site import Site, event, wait_until
from workers.settings.loading import Settings
from workers.tools.verify.verify import verify

GARBAGE = "garbage"


def quick_to_open(site: Site, **delivery: Any) -> Settings:
    breaker = {"consecutive_failures": 20, "failure_min_records": 1000}
    return site.settings_with(breaker=breaker, limits={"in_flight_records": 64}, delivery=delivery)


def spoiled(count: int) -> list[bytes | None]:
    return [event(f"bad{index}", GARBAGE) for index in range(count)]


def answers_garbage(text: str) -> str | Reason:
    return Reason.NON_FINITE_LOGITS if text == GARBAGE else SAFE


@pytest.fixture(params=["at_least_once", pytest.param("exactly_once", marks=pytest.mark.integration)])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_an_open_breaker_holds_everything_back_and_a_reset_lets_it_go_on(
    site: Site, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    if mode == "exactly_once" and site.settings.kafka.api_version is not None:
        pytest.skip("the mock cluster is too old for transactions")
    settings = quick_to_open(site, mode=mode)
    site.produce([event(f"good{index}") for index in range(40)])
    worker = site.start(ScriptedGuard(answer=answers_garbage), settings)
    site.wait_for(40)
    site.produce(spoiled(200))
    wait_until(lambda: worker.breaker.is_open, "the breaker to open")

    turns = worker.progress.turns
    wait_until(lambda: worker.progress.turns > turns + 50, "the worker to go on polling")
    released, committed = worker.progress.completed, sum(site.committed().values())
    assert released < 40 + 20 + 64, "it went on releasing"
    assert 0 < worker.in_flight <= 64 + settings.kafka.max_poll_records
    wait_until(lambda: worker.progress.turns > turns + 100, "some more turns")
    assert (worker.progress.completed, sum(site.committed().values())) == (released, committed)
    assert worker.stuck_reason() is None, "a breaker is no stall"
    assert "consecutive_failures" in caplog.text

    worker.breaker.reset()
    settled = {"released": 0}

    def done_or_open_again() -> bool:
        if worker.breaker.is_open:
            worker.breaker.reset()
        settled["released"] = worker.progress.completed
        return settled["released"] == 240

    wait_until(done_or_open_again, "everything to be released in the end")
    assert worker.stop(20.0)
    ledger = verify(site.settings)
    assert ledger.is_proven, ledger
    assert (ledger.verdicts, ledger.dead_letters, ledger.duplicates) == (40, 200, 0)


@pytest.mark.integration
def test_p1_a_stop_with_an_open_breaker_is_quick_and_its_records_are_judged_by_the_next(kafka_site: Site) -> None:
    kafka_site.produce(spoiled(100))
    worker = kafka_site.start(ScriptedGuard(answer=answers_garbage), quick_to_open(kafka_site, drain_timeout_s=20))
    wait_until(lambda: worker.breaker.is_open, "the breaker to open")

    assert worker.stop(10.0), "it waited for what it held back itself"
    repaired = kafka_site.start(ScriptedGuard(), kafka_site.settings)
    wait_until(lambda: sum(kafka_site.committed().values()) == 100, "the next one to judge them")
    ledger = verify(kafka_site.settings)
    assert repaired.failure is None
    assert ledger.missing == 0
    assert ledger.verdicts >= 80


@pytest.mark.integration
def test_the_mix_of_verdicts_outlives_a_worker_beside_its_offsets(kafka_site: Site) -> None:
    breaker = {"drift_window_records": 100, "drift_baseline_records": 200, "drift_window_s": 1}
    settings = kafka_site.settings_with(breaker=breaker)
    first = kafka_site.start(ScriptedGuard(), settings)

    def has_a_baseline() -> bool:
        kafka_site.produce([event(f"e{index}") for index in range(100)])
        return first.breaker.baseline() != ""

    wait_until(has_a_baseline, "a baseline")
    wait_until(lambda: any(_notes(kafka_site)), "it to be noted beside the offsets")
    assert first.stop(20.0)
    done = first.progress.completed

    kafka_site.produce([event("one more")])
    second = kafka_site.start(ScriptedGuard(), settings)
    wait_until(lambda: done + second.progress.completed == len(kafka_site.records(0)), "the second one to work")
    assert second.breaker.baseline(), "it began anew"


def _notes(site: Site) -> list[str]:
    kafka = site.settings.kafka
    consumer = KafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, group_id=kafka.group_id)
    try:
        stored = [consumer.committed(TopicPartition(site.names[0], number), metadata=True) for number in range(4)]
    finally:
        consumer.close(autocommit=False)
    return [offset.metadata for offset in stored if offset is not None]
