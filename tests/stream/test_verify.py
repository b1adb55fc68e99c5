"""The ledger: proven where every input has one outcome, and refuted by each way of losing or doubling one."""

import tracemalloc
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from pipelines.moderation import Outcome
from schemas.reasons import Reason
from schemas.record import SourceRecord
from schemas.verdict import Severity
from tests.stream.outcomes import letter_of, verdict_of, written
from workers.sections import TopicSettings
from workers.stream.ledger import Ledger, LedgerBook

TOPICS = TopicSettings()
EVENTS = TOPICS.events[0]


class Book:
    """A ledger book of one or more input partitions, and the places at which outcomes are written."""

    def __init__(self, inputs: int = 6, start: int = 0, committed: int | None = None, limit: int = 20) -> None:
        span = (start, start + inputs)
        stored = None if committed is None else {(EVENTS, 0): committed}
        self.book = LedgerBook({(EVENTS, 0): span}, stored, limit=limit)
        for offset in range(*span):
            self.book.add_input(self.input(offset))
        self._offsets: dict[tuple[str, int], Iterator[int]] = {}

    @staticmethod
    def input(offset: int, topic: str = EVENTS, partition: int = 0) -> SourceRecord:
        return SourceRecord(topic, partition, offset, 1000, b"k", b"{", ())

    def write(self, outcome: Outcome, partition: int = 0) -> None:
        output = written(outcome, b"k", TOPICS)
        offset = next(self._offsets.setdefault((output.topic, partition), count()))
        record = SourceRecord(output.topic, partition, offset, 0, output.key, output.value, tuple(output.headers))
        add = self.book.add_verdict if output.topic == TOPICS.verdicts else self.book.add_dead_letter
        add(record)

    def verdicts(self, *offsets: int, partition: int = 0) -> None:
        for offset in offsets:
            self.write(verdict_of(self.input(offset)), partition)

    def letters(self, *offsets: int, reason: Reason = Reason.INVALID_JSON) -> None:
        for offset in offsets:
            self.write(letter_of(self.input(offset), reason))


def broken(ledger: Ledger) -> set[str]:
    return {promise for promise, holds in ledger.promises.items() if not holds}


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
    book = LedgerBook({(EVENTS, 0): (0, 3)})
    for offset in (0, 2):  # 1 is a gap
        book.add_input(Book.input(offset))
    for place, offset in enumerate((0, 1, 2)):
        value = verdict_of(Book.input(offset)).to_bytes()
        book.add_verdict(SourceRecord(TOPICS.verdicts, 0, place, 0, b"k", value, ()))
    ledger = book.close()
    assert broken(ledger) == {"P1"}
    assert (ledger.inputs, ledger.verdicts, ledger.unknown) == (2, 2, 1)


def test_p1_an_outcome_of_a_partition_that_is_not_there_refutes_it() -> None:
    book = Book(1)
    book.verdicts(0)
    book.write(verdict_of(book.input(0, partition=9)))
    assert broken(book.book.close()) == {"P1"}


def test_p1_offsets_that_hold_no_record_are_not_missed() -> None:
    book = LedgerBook({(EVENTS, 0): (0, 1000)})
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
        lambda record: verdict_of(record, revision="r2"),
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
    assert (ledger.duplicates, ledger.unequal_duplicates) == (2, 1)
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
    book = LedgerBook({(EVENTS, 0): (0, 2), (EVENTS, 1): (0, 2)})
    places = count()
    for partition in (0, 1):
        for offset in (0, 1):
            book.add_input(Book.input(offset, partition=partition))
    for partition, offset, output in ((0, 1, 7), (1, 0, 7), (0, 0, 8), (1, 1, 8)):
        value = verdict_of(Book.input(offset, partition=partition)).to_bytes()
        book.add_verdict(SourceRecord(TOPICS.verdicts, output, next(places), 0, b"k", value, ()))
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
    book.book.forget_before({(EVENTS, 0): 12})
    ledger = book.book.close()
    assert (ledger.inputs, ledger.verdicts, ledger.missing) == (2, 1, 1)


def test_only_the_first_findings_of_each_kind_are_listed() -> None:
    book = Book(100, limit=3)
    book.verdicts(50, 40, 30, 20, 10)
    ledger = book.book.close()
    assert (ledger.missing, ledger.out_of_order) == (95, 4)
    assert [finding.kind for finding in ledger.findings] == ["out_of_order"] * 3 + ["missing"] * 3


def test_p9_an_input_takes_nine_bytes() -> None:
    tracemalloc.start()
    try:
        book = LedgerBook({(EVENTS, 0): (0, 1_000_000)})
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 9_000_000 <= held < 9_100_000
    assert book.close().is_proven
