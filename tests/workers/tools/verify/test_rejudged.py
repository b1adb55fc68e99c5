"""A record that has more than one outcome for a reason: judged again by another model, or put back by a redrive."""

from schemas.dead_letter import REDRIVE_COUNT
from schemas.reasons import Reason
from schemas.verdict import Severity
from tests.samples.outcomes import letter_of, verdict_of
from tests.workers.tools.verify.sample_book import EVENTS, Book, broken

REDRIVEN = ((REDRIVE_COUNT, b"1"),)


def test_p7_a_second_judgement_by_another_revision_is_told_apart_from_a_copy_that_differs() -> None:
    book = Book(4)
    book.verdicts(0, 1, 2)
    book.verdicts(1, 2, 3, revision="r2")  # a restart with a new model, from offset 1
    ledger = book.book.close()
    assert ledger.is_proven
    assert (ledger.verdicts, ledger.rejudged, ledger.duplicates, ledger.unequal_duplicates) == (4, 2, 0, 0)
    assert [(note.kind, note.record_id) for note in ledger.notes] == [
        ("rejudged", f"{EVENTS}-0-{offset}") for offset in (1, 2)
    ]


def test_p7_a_second_judgement_under_another_policy_is_one_too() -> None:
    book = Book(1)
    verdict = verdict_of(book.input(0))
    book.write(verdict)
    policy = verdict.policy.model_copy(update={"sha256": "1" * 64})
    book.write(verdict.model_copy(update={"policy": policy, "verdict_id": "2" * 32}))
    ledger = book.book.close()
    assert ledger.is_proven
    assert ledger.rejudged == 1


def test_p7_copies_of_each_judgement_are_compared_with_their_own() -> None:
    book = Book(1)
    for revision in ("r1", "r2", "r3", "r1", "r3", "r2"):
        book.verdicts(0, revision=revision)
    book.write(verdict_of(book.input(0), revision="r2", severity=Severity.UNSAFE))
    ledger = book.book.close()
    assert broken(ledger) == {"P7"}
    assert (ledger.rejudged, ledger.duplicates, ledger.unequal_duplicates) == (2, 3, 1)


def test_p8_a_second_judgement_has_an_order_of_its_own() -> None:
    book = Book(4)
    book.verdicts(0, 1, 2, 3)
    book.verdicts(1, 3, 2, revision="r2")
    ledger = book.book.close()
    assert broken(ledger) == {"P8"}
    assert [finding.record_id for finding in ledger.findings] == [f"{EVENTS}-0-2"]


def test_p1_a_dead_letter_of_one_model_and_a_verdict_of_the_next_are_two_judgements() -> None:
    book = Book(2)
    book.letters(0, reason=Reason.UNPARSABLE_OUTPUT, revision="r1")
    book.verdicts(0, 1, revision="r2")
    book.letters(1, reason=Reason.UNPARSABLE_OUTPUT, revision="r3")
    ledger = book.book.close()
    assert ledger.is_proven
    assert (ledger.rejudged, ledger.conflicting, ledger.unparsable_with_verdict) == (2, 0, 0)


def test_p1_p3_a_dead_letter_and_a_verdict_of_one_model_are_a_conflict() -> None:
    book = Book(1)
    book.letters(0, reason=Reason.UNPARSABLE_OUTPUT, revision="r1")
    book.verdicts(0, revision="r1")
    ledger = book.book.close()
    assert broken(ledger) == {"P1", "P3"}
    assert (ledger.rejudged, ledger.conflicting, ledger.unparsable_with_verdict) == (0, 1, 1)


def test_p1_what_failed_before_any_model_cannot_be_judged_by_the_next() -> None:
    book = Book(1)
    book.letters(0)
    book.verdicts(0, revision="r2")
    assert broken(book.book.close()) == {"P1"}


def test_p7_dead_letters_of_two_models_are_two_judgements_and_of_one_must_be_equal() -> None:
    book = Book(2)
    book.letters(0, 1, reason=Reason.UNPARSABLE_OUTPUT, revision="r1")
    book.letters(0, reason=Reason.OUTPUT_CUT_OFF, revision="r2")
    ledger = book.book.close()
    assert ledger.is_proven
    assert (ledger.dead_letters, ledger.rejudged) == (2, 1)

    book = Book(1)
    book.letters(0, reason=Reason.UNPARSABLE_OUTPUT, revision="r1")
    book.letters(0, reason=Reason.OUTPUT_CUT_OFF, revision="r1")
    assert broken(book.book.close()) == {"P7"}


def test_exactly_once_is_refuted_by_a_second_judgement() -> None:
    book = Book(1, once=True)
    book.verdicts(0)
    book.verdicts(0, revision="r2")
    ledger = book.book.close()
    assert broken(ledger) == {"once"}
    assert [finding.kind for finding in ledger.findings] == ["rejudged"]


def test_p1_a_redriven_record_is_an_input_with_an_outcome_of_its_own() -> None:
    book = Book(2)
    book.book.add_input(book.input(1, headers=REDRIVEN))  # what stood as a dead letter of offset 0
    book.letters(0)
    book.verdicts(1)
    ledger = book.book.close()
    assert ledger.is_proven
    assert (ledger.inputs, ledger.redriven, ledger.verdicts, ledger.dead_letters) == (2, 1, 1, 1)
    assert (ledger.duplicates, ledger.rejudged) == (0, 0)


def test_p1_a_redriven_record_that_fails_again_is_another_dead_letter_and_no_copy() -> None:
    book = Book(3)
    for offset in (1, 2):  # put back, and put back a second time by a redrive that was interrupted before its commit
        book.book.add_input(book.input(offset, headers=REDRIVEN))
    book.letters(0)
    for offset in (1, 2):
        book.write(letter_of(book.input(offset, headers=REDRIVEN)))
    ledger = book.book.close()
    assert ledger.is_proven
    assert (ledger.redriven, ledger.dead_letters, ledger.duplicates) == (2, 3, 0)


def test_p1_a_redriven_record_without_an_outcome_is_missing_although_its_dead_letter_is_there() -> None:
    book = Book(2)
    book.book.add_input(book.input(1, headers=REDRIVEN))
    book.letters(0)
    ledger = book.book.close()
    assert broken(ledger) == {"P1"}
    assert [finding.record_id for finding in ledger.findings] == [f"{EVENTS}-0-1"]
