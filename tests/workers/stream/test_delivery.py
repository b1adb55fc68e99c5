"""The promises of delivery, each on a whole worker against the real Kafka protocol."""

import asyncio
import json
import random
import threading
from collections import Counter
from collections.abc import Sequence

import pytest

from pipelines.guard import GuardRequest
from schemas.errors import GuardCallFailedError, GuardCrashError, GuardUnavailableError
from schemas.reasons import Reason
from tests.guards.scripted_guard import Gate, ScriptedGuard, text_of
from tests.site import Site, event, wait_until
from workers.kafka.producer import producer


def test_p1_every_record_ends_as_exactly_one_verdict_or_dead_letter(site: Site) -> None:
    site.produce([event(f"e{i}") if i % 7 else b"\xff" for i in range(200)])
    worker = site.start(ScriptedGuard())
    site.wait_for(200)
    assert worker.stop(20.0)

    verdicts = Counter(verdict["event_id"] for verdict in site.verdicts())
    letters = Counter(letter.source.model_dump_json() for letter in site.dead_letters())
    bad = len([i for i in range(200) if not i % 7])
    assert verdicts == Counter({f"e{i}": 1 for i in range(200) if i % 7})
    assert len(letters) == bad
    assert set(letters.values()) == {1}
    assert sum(site.committed().values()) == 200


def test_p2_commits_never_pass_a_record_whose_outcome_is_not_acknowledged(site: Site) -> None:
    gate = Gate()

    async def hold_the_stuck_one(requests: Sequence[GuardRequest]) -> None:
        if any(text_of(request) == "stuck" for request in requests):
            await gate.passed()

    site.produce([event(f"e{i}", "stuck" if i == 60 else "hello") for i in range(200)])
    site.start(ScriptedGuard(script=hold_the_stuck_one), site.settings_with(delivery={"chunk_size": 1}))
    stuck = next(record for record in site.records(0) if b"stuck" in (record.value or b""))
    others = 200 - len([r for r in site.records(0) if r.partition == stuck.partition and r.offset >= stuck.offset])
    site.wait_for(others)
    wait_until(lambda: sum(site.committed().values()) == others, "all that is committable to be committed")

    assert site.committed().get(stuck.partition, 0) == stuck.offset
    gate.open()
    site.wait_for(200)


def test_p2_nothing_is_committed_while_the_broker_acknowledges_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    acknowledges = threading.Event()
    monkeypatch.setattr("workers.stream.publisher.AtLeastOnce._flush", lambda _: acknowledges.wait(60))
    site.produce([event(f"e{i}") for i in range(40)])
    worker = site.start(ScriptedGuard())
    wait_until(lambda: worker.in_flight == 40, "all to be in flight")
    turns = worker.progress.turns
    wait_until(lambda: worker.progress.turns > turns + 50, "the loop to go on turning")

    assert (worker.in_flight, worker.progress.completed, site.committed()) == (40, 0, {})
    monkeypatch.undo()
    acknowledges.set()
    site.wait_for(40)
    wait_until(lambda: sum(site.committed().values()) == 40, "all to be committed")


def test_p3_an_unreadable_answer_is_a_dead_letter_and_never_a_verdict(site: Site) -> None:
    answers = ["", "Safe", "safety: safe\ncategories: none", "Safety: Safe\nCategories: Violent", "Safety: Safe"]
    site.produce([event(f"e{i}", str(i)) for i in range(len(answers))])
    site.start(ScriptedGuard(answer=lambda text: answers[int(text)]))
    site.wait_for(len(answers))

    assert site.verdicts() == []
    assert {letter.reason for letter in site.dead_letters()} == {Reason.UNPARSABLE_OUTPUT}
    assert len(site.dead_letters()) == len(answers)


def test_p5_while_the_guard_is_down_nothing_is_dead_lettered_and_offsets_hold(site: Site) -> None:
    gate = Gate()
    refused = 0

    async def be_down(_: Sequence[GuardRequest]) -> None:
        nonlocal refused
        if not gate.is_open:
            refused += 1
            raise GuardUnavailableError("down")

    site.produce([event(f"e{i}") for i in range(50)])
    worker = site.start(ScriptedGuard(script=be_down))
    wait_until(lambda: refused > 40, "many refused calls")
    assert site.dead_letters() == []
    assert sum(site.committed().values()) == 0
    assert worker.stuck_reason() is None

    gate.open()
    site.wait_for(50)
    assert len(site.verdicts()) == 50
    assert site.dead_letters() == []


def test_p5_a_guard_that_raises_for_everything_is_broken_and_no_record_is_blamed(site: Site) -> None:
    gate = Gate()
    raised = 0

    async def raise_always(_: Sequence[GuardRequest]) -> None:
        nonlocal raised
        if not gate.is_open:
            raised += 1
            raise GuardCallFailedError("RuntimeError")

    site.produce([event(f"e{i}") for i in range(16)])
    site.start(ScriptedGuard(script=raise_always))
    wait_until(lambda: raised > 200, "many failed calls")
    assert site.dead_letters() == []
    gate.open()
    site.wait_for(16)
    assert len(site.verdicts()) == 16


@pytest.mark.parametrize(
    ("error", "reason"),
    [(GuardCallFailedError("x"), Reason.INFERENCE_FAILED), (GuardCrashError("x"), Reason.REPLICA_CRASH)],
)
def test_p6_a_poisonous_record_harms_only_itself(site: Site, error: Exception, reason: Reason) -> None:
    async def fail_on_poison(requests: Sequence[GuardRequest]) -> None:
        if any(text_of(request) == "poison" for request in requests):
            raise error

    site.produce([event(f"e{i}", "poison" if i == 33 else "hello") for i in range(80)])
    site.start(ScriptedGuard(script=fail_on_poison))
    site.wait_for(80)

    assert [(letter.reason, letter.value) for letter in site.dead_letters()] == [(reason, event("e33", "poison"))]
    assert {verdict["event_id"] for verdict in site.verdicts()} == {f"e{i}" for i in range(80) if i != 33}


def test_p7_judging_a_topic_twice_gives_equal_ids_and_payloads(site: Site) -> None:
    site.produce([event(f"e{i}") for i in range(40)])
    for group in ("first", "second"):
        worker = site.start(ScriptedGuard(), site.settings_with(kafka={"group_id": f"{group}-{site.suffix}"}))
        wait_until(lambda worker=worker: worker.progress.completed == 40, "40 outcomes")
        worker.stop(10.0)

    by_source: dict[str, list[str]] = {}
    for verdict in site.verdicts():
        assert verdict.pop("timing")["guard_ms"] == 1.0
        by_source.setdefault(json.dumps(verdict["source"]), []).append(json.dumps(verdict))
    assert len(by_source) == 40
    assert all(len(copies) == 2 and copies[0] == copies[1] for copies in by_source.values())
    assert len({json.loads(copies[0])["verdict_id"] for copies in by_source.values()}) == 40


def test_p8_outcomes_of_a_partition_leave_in_offset_order_though_computed_out_of_order(site: Site) -> None:
    rng = random.Random(8)

    async def take_random_time(_: Sequence[GuardRequest]) -> None:
        await asyncio.sleep(rng.random() * 0.05)

    site.produce([event(f"e{i}") for i in range(400)])
    site.start(ScriptedGuard(script=take_random_time), site.settings_with(delivery={"chunk_size": 2}))
    site.wait_for(400)

    offsets: dict[tuple[int, int], list[int]] = {}
    for record in site.records(1):
        source = json.loads(record.value or b"")["source"]
        offsets.setdefault((source["partition"], record.partition), []).append(source["offset"])
    assert sum(map(len, offsets.values())) == 400
    assert all(seen == sorted(seen) for seen in offsets.values())


@pytest.mark.parametrize(
    "limits",
    [
        {"in_flight_records": 64},
        {"in_flight_bytes": 40_000, "max_event_bytes": 10_000},
        {"in_flight_tokens": 4_096},
    ],
)
def test_p9_a_stalled_guard_bounds_what_is_in_flight(site: Site, limits: dict[str, int]) -> None:
    gate = Gate()

    async def stall(_: Sequence[GuardRequest]) -> None:
        await gate.passed()

    guard = ScriptedGuard(script=stall)
    text = "word " * 150
    site.produce([event(f"e{i}", text) for i in range(600)])
    worker = site.start(guard, site.settings_with(limits=limits, kafka={"max_poll_records": 32}))
    most = limits.get("in_flight_records", 64) + 32
    try:
        wait_until(lambda: worker.is_full or guard.in_call > most, "the limit to be reached")
        turns = worker.progress.turns
        wait_until(lambda: worker.progress.turns > turns + 20, "the loop to go on turning")
        assert guard.in_call <= most
    finally:
        gate.open()  # or a worker without a limit would not end, either
    site.wait_for(600)
    assert len(site.verdicts()) == 600


@pytest.mark.integration
def test_two_workers_share_the_partitions_without_loss_or_duplicates(kafka_site: Site) -> None:
    async def take_a_moment(_: Sequence[GuardRequest]) -> None:
        await asyncio.sleep(0.02)

    settings = kafka_site.settings_with(limits={"in_flight_records": 16}, kafka={"max_poll_records": 8})
    kafka_site.produce([event(f"e{i}") for i in range(200)])
    first = kafka_site.start(ScriptedGuard(script=take_a_moment), settings)
    wait_until(lambda: first.progress.completed > 20, "the first worker to get going")
    second = kafka_site.start(ScriptedGuard(script=take_a_moment), settings)
    produced = 200

    def both_have_work() -> bool:
        nonlocal produced
        kafka_site.produce([event(f"e{i}") for i in range(produced, produced + 50)])
        produced += 50
        return second.progress.completed > 20

    wait_until(both_have_work, "the second worker to get partitions")
    kafka_site.wait_for(produced)
    assert first.stop(20.0)
    assert second.stop(20.0)

    verdicts = Counter(verdict["event_id"] for verdict in kafka_site.verdicts())
    assert verdicts == Counter({f"e{i}": 1 for i in range(produced)})
    assert sum(kafka_site.committed().values()) == produced


def test_stopping_drains_what_is_in_flight_and_commits_it(site: Site) -> None:
    gate = Gate()

    async def hold(_: Sequence[GuardRequest]) -> None:
        await gate.passed()

    guard = ScriptedGuard(script=hold)
    site.produce([event(f"e{i}") for i in range(30)])
    worker = site.start(guard)
    wait_until(lambda: guard.in_call == 30, "all records to be in flight")
    worker.request_stop()
    gate.open()
    assert worker.stop(20.0)
    assert len(site.verdicts()) == 30
    assert sum(site.committed().values()) == 30


@pytest.mark.integration
def test_a_drain_that_is_too_long_leaves_the_rest_to_the_next_owner(kafka_site: Site) -> None:
    gate = Gate()

    async def hold(_: Sequence[GuardRequest]) -> None:
        await gate.passed()

    kafka_site.produce([event(f"e{i}") for i in range(30)])
    guard = ScriptedGuard(script=hold)
    worker = kafka_site.start(guard, kafka_site.settings_with(delivery={"drain_timeout_s": 0.2}))
    wait_until(lambda: guard.in_call == 30, "all records to be in flight")
    assert worker.stop(20.0)
    gate.open()
    assert kafka_site.verdicts() == []
    assert sum(kafka_site.committed().values()) == 0

    kafka_site.start(ScriptedGuard())
    kafka_site.wait_for(30)
    assert len(kafka_site.verdicts()) == 30


def test_p6_a_call_that_hangs_leaves_the_other_partitions_at_work(site: Site) -> None:
    gate = Gate()

    async def hang(requests: Sequence[GuardRequest]) -> None:
        if any(text_of(request) == "hang" for request in requests):
            await gate.passed()

    sender = producer(site.settings.kafka)
    for number in range(400):
        sender.send(site.names[0], event(f"e{number}", "hello" if number else "hang"), partition=number % 4)
    sender.close()
    # A record a call: one that hangs holds what shares its call, of whatever partition, until the call times out.
    sizes = {"delivery": {"chunk_size": 1}, "kafka": {"max_poll_records": 32}}
    worker = site.start(ScriptedGuard(script=hang), site.settings_with(limits={"in_flight_records": 40}, **sizes))

    def judged() -> Counter[int]:
        return Counter(verdict["source"]["partition"] for verdict in site.verdicts())

    wait_until(lambda: judged() == {1: 100, 2: 100, 3: 100}, "the partitions that do not hang to be finished")
    assert worker.is_full

    gate.open()
    site.wait_for(400)
