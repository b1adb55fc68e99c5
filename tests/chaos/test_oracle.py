"""The oracle is seen to find every kind of fault that it is there for."""

from __future__ import annotations

from dataclasses import replace

from schemas.reasons import Reason
from tests.chaos.load import Event, Place
from tests.chaos.oracle import VERDICT, Outcome, account

SENT: dict[Place, Event] = {
    (partition, offset): Event(b"k%d" % partition, b"", [], {2: Reason.INVALID_JSON, 3: Reason.TOMBSTONE}.get(offset))
    for partition in (0, 1)
    for offset in range(4)
}


def outcome(place: Place, at: int, *, partition: int | None = None) -> Outcome:
    event = SENT.get(place)
    if event is not None and event.expected is not None:
        return Outcome(place, event.expected, "", f"letter {place}", ("dlq", place[0], at))
    return Outcome(
        place, VERDICT, f"id {place}", f"{place}", ("verdicts", place[0] if partition is None else partition, at)
    )


GOOD = [outcome(place, place[1]) for place, event in SENT.items() if not event.is_skipped]


def faults(outcomes: list[Outcome]) -> list[str]:
    return [fault.partition(":")[0] for fault in account(SENT, outcomes).faults]


def test_a_clean_run_has_no_faults_and_counts() -> None:
    found = account(SENT, GOOD)
    counts = (found.inputs, found.verdicts, found.letters, found.skipped, found.duplicates)
    assert (counts, found.faults) == ((8, 4, 2, 2, 0), ())


def test_an_outcome_of_what_holds_nothing_to_judge_is_found() -> None:
    assert faults([*GOOD, Outcome((0, 3), Reason.TOMBSTONE, "", "letter", ("dlq", 0, 3))]) == ["wrong"]


def test_equal_copies_are_counted_and_are_no_fault() -> None:
    found = account(SENT, [*GOOD, outcome((0, 1), 9)])
    assert (found.duplicates, found.faults) == (1, ())


def test_a_lost_record_is_found_unless_it_may_be_under_way() -> None:
    assert faults(GOOD[1:]) == ["lost"]
    assert account(SENT, GOOD[1:], allow_missing=True).faults == ()


def test_a_dead_letter_for_a_good_record_is_found() -> None:
    assert faults([replace(GOOD[0], kind=Reason.INFERENCE_FAILED), *GOOD[1:]]) == ["wrong"]


def test_a_verdict_beside_a_dead_letter_is_found() -> None:
    assert faults([*GOOD, replace(GOOD[2], kind=VERDICT, where=("verdicts", 0, 9))]) == ["wrong"]


def test_copies_with_another_id_or_payload_are_found() -> None:
    assert faults([*GOOD, replace(outcome((0, 1), 9), verdict_id="another")]) == ["unequal copies"]
    assert faults([*GOOD, replace(outcome((0, 1), 9), payload="another")]) == ["unequal copies"]


def test_an_outcome_of_what_nobody_produced_is_found() -> None:
    assert faults([*GOOD, outcome((0, 99), 9)]) == ["unknown"]


def test_outcomes_that_changed_places_are_found_by_partition_and_by_key() -> None:
    swapped = [replace(GOOD[0], where=("verdicts", 0, 1)), replace(GOOD[1], where=("verdicts", 0, 0)), *GOOD[2:]]
    assert faults(swapped) == ["out of order by partition", "out of order by key"]


def test_copies_in_two_output_partitions_say_nothing_of_order() -> None:
    assert faults([*GOOD, outcome((0, 0), 99, partition=3)]) == []
