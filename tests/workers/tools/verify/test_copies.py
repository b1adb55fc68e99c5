"""Verdicts that a policy routes to an extra topic: no duplicates there, but the same as on the verdict topic."""

import pytest

from schemas.reasons import Reason
from schemas.record import SourceRecord
from schemas.verdict import Action, Severity, Verdict
from tests.samples.outcomes import verdict_of
from tests.workers.tools.verify.sample_book import EVENTS, EXTRA, Book, broken


def routes(verdict: Verdict) -> tuple[str, ...]:
    """As a policy of `topics: {block: [moderation.blocked]}`."""
    return (EXTRA,) if verdict.action is Action.BLOCK else ()


def blocked(record: SourceRecord, guard_ms: float = 2.0) -> Verdict:
    return verdict_of(record, severity=Severity.UNSAFE, guard_ms=guard_ms)


def routed(inputs: int = 3, **options: int) -> Book:
    return Book(inputs, routes=routes, **options)


@pytest.mark.parametrize("copies_first", [False, True])
def test_p7_a_copy_on_an_extra_topic_is_no_duplicate(copies_first: bool) -> None:
    book = routed()
    for topic in (EXTRA, None) if copies_first else (None, EXTRA):
        for offset in (0, 1):
            book.write(blocked(book.input(offset)), topic=topic)
        if topic is None:
            book.verdicts(2)
    ledger = book.book.close()
    assert ledger.is_proven
    assert (ledger.verdicts, ledger.duplicates, ledger.missing_copies, ledger.unmatched_copies) == (3, 0, 0, 0)


def test_p7_a_second_copy_on_an_extra_topic_is_a_duplicate() -> None:
    book = Book(1, routes=routes, once=True)
    for topic in (None, EXTRA, EXTRA):
        book.write(blocked(book.input(0), guard_ms=3), topic=topic)
    ledger = book.book.close()
    assert broken(ledger) == {"once"}
    assert ledger.duplicates == 1


def test_p1_a_copy_that_is_not_there_refutes_it_once_its_input_is_committed() -> None:
    book = routed(committed=2)
    for offset in (0, 1, 2):
        book.write(blocked(book.input(offset)))
    book.write(blocked(book.input(0)), topic=EXTRA)
    ledger = book.book.close()
    assert broken(ledger) == {"P1"}
    assert ledger.missing_copies == 1
    assert [(finding.kind, finding.record_id) for finding in ledger.findings] == [("missing_copies", f"{EVENTS}-0-1")]


def test_p7_a_copy_that_differs_from_the_verdict_refutes_it() -> None:
    book = routed(1)
    book.write(blocked(book.input(0)))
    book.write(blocked(book.input(0)).model_copy(update={"action": Action.REVIEW}), topic=EXTRA)
    ledger = book.book.close()
    assert broken(ledger) == {"P7"}
    assert [(finding.kind, finding.record_id) for finding in ledger.findings] == [("unmatched_copies", f"{EVENTS}-0-0")]


def test_p7_copies_that_differ_among_each_other_refute_it() -> None:
    book = routed(1)
    book.write(blocked(book.input(0)))
    for action in (Action.BLOCK, Action.REVIEW):
        book.write(blocked(book.input(0)).model_copy(update={"action": action}), topic=EXTRA)
    ledger = book.book.close()
    assert broken(ledger) == {"P7"}
    assert ledger.unequal_duplicates == 1


def test_p7_a_copy_of_a_verdict_that_is_not_on_its_topic_refutes_it() -> None:
    book = routed(1)
    book.letters(0)
    book.write(blocked(book.input(0)), topic=EXTRA)
    ledger = book.book.close()
    assert broken(ledger) == {"P7"}
    assert ledger.unmatched_copies == 1


def test_p7_a_verdict_that_only_the_extra_topic_had_room_for_is_a_dead_letter_and_no_fault() -> None:
    book = routed(1)
    book.write(blocked(book.input(0)), topic=EXTRA)
    book.letters(0, reason=Reason.VERDICT_TOO_LARGE, revision="r1")
    assert book.book.close().is_proven


def test_p7_a_copy_that_was_faster_than_its_verdict_is_no_fault_while_in_flight() -> None:
    book = routed(2, committed=1)
    book.verdicts(0)
    book.write(blocked(book.input(1)), topic=EXTRA)
    ledger = book.book.close(tail_allowed=True)
    assert ledger.is_proven
    assert ledger.not_yet_judged == 1


def test_p7_each_judgement_may_have_its_copy() -> None:
    book = routed(1)
    for revision in ("r1", "r2"):
        for topic in (None, EXTRA):
            book.write(verdict_of(book.input(0), severity=Severity.UNSAFE, revision=revision), topic=topic)
    ledger = book.book.close()
    assert ledger.is_proven
    assert ledger.unmatched_copies == 0


def test_p8_an_extra_topic_keeps_the_order() -> None:
    book = routed(2)
    for offset in (0, 1):
        book.write(blocked(book.input(offset)))
    for offset in (1, 0):
        book.write(blocked(book.input(offset)), topic=EXTRA)
    assert broken(book.book.close()) == {"P8"}


def test_p3_what_is_no_verdict_on_an_extra_topic_refutes_it() -> None:
    book = routed(0)
    book.book.add_verdict(SourceRecord(EXTRA, 0, 0, 0, b"k", b"Safety: Safe", ()))
    assert broken(book.book.close()) == {"P1", "P3"}
