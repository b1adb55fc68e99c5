"""The sample and the differences of the shadow lane, without any lane."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.shadow import AgreementCounts, differences, disagreement, is_sampled
from schemas.dead_letter import DeadLetter, dead_letter
from schemas.errors import TerminalError
from schemas.reasons import Reason
from schemas.record import SourceRecord
from schemas.shadow import SHADOW_RECORD, Difference
from schemas.verdict import Action, Category, Severity, Source
from tests.samples.verdict import VERDICT, VERDICT_TEXT, text_of

RECORD = SourceRecord("in", 5, 9, 1, b"k", b"private words", ())


def letter(reason: Reason) -> DeadLetter:
    return dead_letter(RECORD, TerminalError(reason, "detail"), group="g")


UNREADABLE, LONG = letter(Reason.UNPARSABLE_OUTPUT), letter(Reason.CONTEXT_OVERFLOW)


def verdict(**fields: Any) -> Any:
    return text_of(VERDICT.model_copy(update=fields))


@given(st.integers(0, 2**62), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_has_all_that_a_smaller_one_has(offset: int, one: float, other: float) -> None:
    small, large = sorted((one, other))
    record = RECORD._replace(offset=offset)

    assert is_sampled(record, small) <= is_sampled(record, large)
    assert is_sampled(record, 1.0)
    assert not is_sampled(record, 0.0)


@given(st.binary(), st.binary(), st.integers(0, 1_000))
def test_nothing_that_its_sender_writes_chooses_whether_a_record_is_in_the_sample(
    key: bytes, value: bytes, offset: int
) -> None:
    record = RECORD._replace(offset=offset)

    assert is_sampled(record._replace(key=key, value=value), 0.5) is is_sampled(record, 0.5)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_the_sample_has_its_share_of_records_in_a_row(share: float) -> None:
    taken = sum(is_sampled(RECORD._replace(offset=offset), share) for offset in range(20_000))

    assert abs(taken / 20_000 - share) < 0.02


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        (VERDICT_TEXT, ()),
        (verdict(verdict_id="other", tenant="t"), ()),
        (verdict(severity=Severity.SAFE), (Difference.SEVERITY,)),
        (verdict(categories=(Category.PII,)), (Difference.CATEGORIES,)),
        (verdict(refusal=True), (Difference.REFUSAL,)),
        (verdict(action=Action.ALLOW), (Difference.ACTION,)),
        (verdict(severity=Severity.SAFE, action=Action.ALLOW), (Difference.SEVERITY, Difference.ACTION)),
        (UNREADABLE, (Difference.OUTCOME,)),
    ],
)
def test_differences_are_those_of_what_is_decided(candidate: Any, expected: Sequence[Difference]) -> None:
    assert differences(VERDICT_TEXT, candidate) == tuple(expected)
    assert differences(candidate, VERDICT_TEXT) == tuple(expected)


def test_the_order_of_categories_is_no_difference_and_reasons_are() -> None:
    names = (Category.PII, Category.VIOLENT)
    one, other = verdict(categories=names), verdict(categories=names[::-1])

    assert differences(one, other) == ()
    assert differences(UNREADABLE, letter(Reason.UNPARSABLE_OUTPUT)) == ()
    assert differences(UNREADABLE, LONG) == (Difference.OUTCOME,)


def test_a_tally_adds_up() -> None:
    counts = AgreementCounts()
    for candidate in (VERDICT_TEXT, VERDICT_TEXT, verdict(severity=Severity.SAFE, action=Action.ALLOW), UNREADABLE):
        counts.add(VERDICT_TEXT, candidate)

    assert (counts.agreed, counts.disagreed) == (2, 2)
    assert counts.differences == {Difference.SEVERITY: 1, Difference.ACTION: 1, Difference.OUTCOME: 1}
    assert {(pair.live, pair.candidate, pair.count) for pair in counts.pairs} == {
        (Severity.UNSAFE, Severity.UNSAFE, 2),
        (Severity.UNSAFE, Severity.SAFE, 1),
        (Severity.UNSAFE, "dead_letter", 1),
    }


def test_p10_a_disagreement_keeps_no_text_and_comes_back_as_it_was() -> None:
    place = Source(topic="in", partition=5, offset=9)
    record = disagreement("e", place, (Difference.OUTCOME,), VERDICT_TEXT, UNREADABLE)
    text = record.model_dump_json()

    assert SHADOW_RECORD.validate_json(text) == record
    assert "private" not in text
    assert record.live.verdict == VERDICT
    assert (record.candidate.verdict, record.candidate.reason) == (None, Reason.UNPARSABLE_OUTPUT)
