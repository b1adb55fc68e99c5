"""The ledger: proven where every input has one outcome, and refuted by each way of losing or doubling one."""

from collections.abc import Callable
from itertools import count

import pytest

from pipelines.moderation import Outcome
from schemas.reasons import Reason
from schemas.record import Partition, SourceRecord
from schemas.verdict import Severity
from tests.samples.outcomes import verdict_of
from tests.workers.tools.verify.sample_book import EVENTS, TOPICS, Book, broken
from workers.tools.verify.ledger import LedgerBook


def test_p1_one_outcome_for_each_input_proves_it() -> None:
    book = Book(6)
    book.verdicts(0, 1, 3, 4)
    book.letters(2, 5)
    ledger = book.book.close()
    assert ledger.is_proven
    assert ledger.is_closed
    assert (ledger.inputs, ledger.verdicts, ledger.dead_letters, ledger.duplicates) == (6, 4, 2, 0)
    assert ledger.findings == ()


def test_p1_equal_copies_do_no_harm() -> None:
    book = Book(3)
    book.verdicts(0, 1)
    book.letters(2)
    book.write(verdict_of(book.input(0), guard_ms=99))
    book.verdicts(1)
    book.letters(2)
    ledger = book.book.close()
    assert ledger.is_proven
    assert (ledger.verdicts, ledger.dead_letters, ledger.duplicates) == (2, 1, 3)
    assert ledger.findings == ()
    assert [(note.kind, note.record_id) for note in ledger.notes] == [
        ("duplicates", f"{EVENTS}-0-{offset}") for offset in (0, 1, 2)
    ]


def test_exactly_once_is_refuted_by_an_equal_copy_and_says_which() -> None:
    book = Book(2, once=True)
    book.verdicts(0, 1, 1)
    ledger = book.book.close()
    assert broken(ledger) == {"once"}
    assert ledger.is_closed
    assert [(finding.kind, finding.record_id) for finding in ledger.findings] == [("duplicates", f"{EVENTS}-0-1")]

    book = Book(2, once=True)
    book.verdicts(0, 1)
    assert book.book.close().is_proven


def test_p1_a_missing_outcome_refutes_it_and_is_named() -> None:
    book = Book(4, start=100)
    book.verdicts(100, 101, 103)
    ledger = book.book.close()
    assert broken(ledger) == {"P1"}
    assert not ledger.is_closed
    assert ledger.missing == 1
    assert [(finding.kind, finding.record_id) for finding in ledger.findings] == [("missing", f"{EVENTS}-0-102")]


def test_p1_a_verdict_and_a_dead_letter_of_one_record_refute_it() -> None:
    book = Book(2)
    book.verdicts(0, 1)
    book.letters(1)
    ledger = book.book.close()
    assert broken(ledger) == {"P1"}
    assert ledger.conflicting == 1
    assert ledger.findings[0].record_id == f"{EVENTS}-0-1"


def test_p1_an_outcome_of_a_record_that_is_not_there_refutes_it() -> None:
    book = LedgerBook({Partition(EVENTS, 0): (0, 3)})
    for offset in (0, 2):  # 1 is a gap
        book.add_input(Book.input(offset))
    for index, offset in enumerate((0, 1, 2)):
        value = verdict_of(Book.input(offset)).to_bytes()
        book.add_verdict(SourceRecord(TOPICS.verdicts, 0, index, 0, b"k", value, ()))
    ledger = book.close()
    assert broken(ledger) == {"P1"}
    assert (ledger.inputs, ledger.verdicts, ledger.unknown) == (2, 2, 1)


def test_p1_an_outcome_of_a_partition_that_is_not_there_refutes_it() -> None:
    book = Book(1)
    book.verdicts(0)
    book.write(verdict_of(book.input(0, partition=9)))
    assert broken(book.book.close()) == {"P1"}


def test_p1_offsets_that_hold_no_record_are_not_missed() -> None:
    book = LedgerBook({Partition(EVENTS, 0): (0, 1000)})
    book.add_input(Book.input(999))
    book.add_verdict(SourceRecord(TOPICS.verdicts, 0, 0, 0, b"k", verdict_of(Book.input(999)).to_bytes(), ()))
    assert book.close().is_proven


@pytest.mark.parametrize(("allowed", "closed"), [(False, False), (True, True)])
def test_p1_what_is_still_in_flight_counts_unless_allowed(allowed: bool, closed: bool) -> None:
    book = Book(5, committed=3)
    book.verdicts(0, 1, 2, 4)
    ledger = book.book.close(tail_allowed=allowed)
    assert (ledger.missing, ledger.not_yet_judged) == (0, 1)
    assert ledger.is_closed is closed


def test_p2_an_input_before_the_commit_is_missing_even_where_a_tail_is_allowed() -> None:
    book = Book(5, committed=3)
    book.verdicts(0, 2)
    ledger = book.book.close(tail_allowed=True)
    assert (ledger.missing, ledger.not_yet_judged) == (1, 2)
    assert not ledger.is_closed


def test_p3_a_verdict_beside_an_unparsable_output_is_named_as_such() -> None:
    book = Book(1)
    book.verdicts(0)
    book.letters(0, reason=Reason.UNPARSABLE_OUTPUT)
    ledger = book.book.close()
    assert broken(ledger) == {"P1", "P3"}
    assert ledger.unparsable_with_verdict == 1
    assert "unparsable" in ledger.findings[0].detail


@pytest.mark.parametrize("value", [None, b"", b"{}", b"Safety: Safe", b'{"severity":"Fine"}'])
def test_p3_what_is_no_verdict_refutes_it(value: bytes | None) -> None:
    book = Book(0)
    book.book.add_verdict(SourceRecord(TOPICS.verdicts, 0, 0, 0, b"k", value, ()))
    ledger = book.book.close()
    assert broken(ledger) == {"P1", "P3"}
    assert ledger.unreadable == 1


@pytest.mark.parametrize(
    "differs",
    [
        lambda record: verdict_of(record, severity=Severity.UNSAFE),
        # One id must have one payload, whatever else it says of how it was made.
        lambda record: verdict_of(record, revision="r2").model_copy(
            update={"verdict_id": verdict_of(record).verdict_id}
        ),
        lambda record: verdict_of(record).model_copy(update={"verdict_id": "1" * 32}),
    ],
)
def test_p7_copies_that_differ_refute_it(differs: Callable[[SourceRecord], Outcome]) -> None:
    book = Book(1)
    book.verdicts(0)
    book.write(differs(book.input(0)))
    book.verdicts(0)
    ledger = book.book.close()
    assert broken(ledger) == {"P7"}
    assert (ledger.duplicates, ledger.unequal_duplicates, ledger.rejudged) == (1, 1, 0)
    assert len(ledger.findings) == 1


def test_p7_a_text_that_looks_like_the_timing_field_hides_no_difference() -> None:
    book = Book(1)
    for tenant in ('a","timing":', 'b","timing":'):
        book.write(verdict_of(book.input(0)).model_copy(update={"tenant": tenant}))
    assert broken(book.book.close()) == {"P7"}


def test_p7_dead_letters_of_two_reasons_refute_it() -> None:
    book = Book(1)
    book.letters(0)
    book.letters(0, reason=Reason.NOT_UTF8)
    assert broken(book.book.close()) == {"P7"}


def test_p8_outcomes_out_of_order_refute_it() -> None:
    book = Book(4)
    book.verdicts(0, 2, 1, 3)
    ledger = book.book.close()
    assert broken(ledger) == {"P8"}
    assert ledger.out_of_order == 1
    assert ledger.findings[0].record_id == f"{EVENTS}-0-1"


def test_p8_a_second_delivery_is_not_out_of_order() -> None:
    book = Book(6)
    book.verdicts(0, 1, 2, 3)
    book.verdicts(1, 2, 3, 4, 5)
    ledger = book.book.close()
    assert ledger.is_proven
    assert ledger.duplicates == 3


def test_p8_holds_by_output_partition_and_input_partition() -> None:
    book = LedgerBook({Partition(EVENTS, 0): (0, 2), Partition(EVENTS, 1): (0, 2)})
    offsets = count()
    for partition in (0, 1):
        for offset in (0, 1):
            book.add_input(Book.input(offset, partition=partition))
    for partition, offset, output in ((0, 1, 7), (1, 0, 7), (0, 0, 8), (1, 1, 8)):
        value = verdict_of(Book.input(offset, partition=partition)).to_bytes()
        book.add_verdict(SourceRecord(TOPICS.verdicts, output, next(offsets), 0, b"k", value, ()))
    assert book.close().is_proven


def test_records_that_are_not_ours_are_counted_and_refute_nothing() -> None:
    book = Book(1)
    book.verdicts(0)
    book.book.add_dead_letter(SourceRecord(TOPICS.dead_letters, 0, 50, 0, b"k", b"x", (("kafka_dlt-reason", b"y"),)))
    book.write(verdict_of(book.input(0, topic="other.events")))
    ledger = book.book.close()
    assert ledger.is_proven
    assert ledger.foreign == 2


def test_outcomes_of_inputs_outside_the_range_are_left_out() -> None:
    book = Book(2, start=10)
    book.verdicts(9, 10, 11, 12)
    ledger = book.book.close()
    assert ledger.is_proven
    assert (ledger.verdicts, ledger.outside) == (2, 2)


def test_inputs_that_retention_removed_meanwhile_are_left_out() -> None:
    book = Book(4, start=10)
    book.verdicts(11, 12)  # 10 is gone, and so would be its outcome; 13 is missing
    book.book.forget_before({Partition(EVENTS, 0): 12})
    ledger = book.book.close()
    assert (ledger.inputs, ledger.verdicts, ledger.missing) == (2, 1, 1)


def test_only_the_first_findings_of_each_kind_are_listed() -> None:
    book = Book(100, limit=3)
    book.verdicts(50, 40, 30, 20, 10)
    ledger = book.book.close()
    assert (ledger.missing, ledger.out_of_order) == (95, 4)
    assert [finding.kind for finding in ledger.findings] == ["out_of_order"] * 3 + ["missing"] * 3
