"""What a redrive remembers: letters are put back once, whatever selections came in whatever order."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.dead_letter import dead_letter
from schemas.errors import ModerationError, TerminalError
from schemas.reasons import Reason, Stage
from schemas.record import SourceRecord
from tests.samples.outcomes import written
from workers.settings.sections import TopicSettings
from workers.tools.dead_letters.dead_letters import Filters
from workers.tools.dead_letters.redrive.letters import RedriveLetter, Selection, redrive_letter
from workers.tools.dead_letters.redrive.progress import (
    MAX_METADATA,
    MAX_RANGES,
    LeftOffsets,
    Passed,
    advanced,
    from_metadata,
    from_numbers,
    start_of,
    to_metadata,
)

ALL = Selection()
LONG = Selection(Filters(reason=Reason.TOO_LONG))
RENDER = Selection(Filters(stage=Stage.RENDER))
KIDS = Selection(Filters(tenant="kids"))
RECENT = Selection(Filters(since_ms=1000))
ELSEWHERE = Selection(to="elsewhere")


def letter(
    offset: int, reason: Reason = Reason.TOO_LONG, tenant: str = "kids", written_ms: int = 1000
) -> RedriveLetter:
    """A letter of the topic `in` at an offset of the dead-letter topic."""
    value = b'{"tenant": "%s"}' % tenant.encode()
    source = SourceRecord("in", 0, offset, 0, b"k", value, ())
    record = written(dead_letter(source, TerminalError(reason, "x"), group="weir"), b"k", TopicSettings())
    return redrive_letter(SourceRecord("dlq", 0, offset, written_ms, b"k", value, tuple(record.headers)))


@pytest.mark.parametrize(
    ("selection", "other", "covers"),
    [
        (ALL, LONG, True),
        (LONG, ALL, False),
        (ALL, ALL, True),
        (KIDS, LONG, False),
        (ALL, RECENT, True),
        (RECENT, ALL, False),
        (RECENT, Selection(Filters(since_ms=1001)), True),
        (RECENT, Selection(Filters(since_ms=999)), False),
        (Selection(Filters(until_ms=9)), Selection(Filters(until_ms=8)), True),
        (Selection(Filters(until_ms=9)), Selection(Filters(until_ms=10)), False),
        (Selection(Filters(until_ms=9)), ALL, False),
        (ALL, Selection(Filters(model_revision="r1")), True),
        (ELSEWHERE, LONG, False),
        (ALL, ELSEWHERE, False),
    ],
)
def test_a_selection_covers_another_that_asks_for_no_more(selection: Selection, other: Selection, covers: bool) -> None:
    assert selection.covers(other) is covers


def test_a_letter_seen_to_is_not_seen_to_for_another_destination() -> None:
    passed = Passed(ALL, 5)
    assert passed.saw_to(letter(4), LONG)
    assert not passed.saw_to(letter(5), LONG)
    assert not passed.saw_to(letter(4), ELSEWHERE)
    assert passed.saw_to(letter(4), Selection(to="in"))  # where it has been put back to, said in words
    assert not Passed(ALL, 5, LeftOffsets(((4, 5),))).saw_to(letter(4), ALL)


def test_what_an_unfiltered_redrive_has_seen_to_replaces_what_others_have() -> None:
    passed = [Passed(LONG, 10), Passed(KIDS, 30), Passed(ELSEWHERE, 4)]
    assert advanced(passed, ALL, 20, LeftOffsets(), 0) == [Passed(KIDS, 30), Passed(ELSEWHERE, 4), Passed(ALL, 20)]
    assert advanced(passed, ALL, 30, LeftOffsets(), 4) == [Passed(ALL, 30)]


def test_a_run_that_begins_at_what_was_left_forgets_nothing_behind_it() -> None:
    before = [Passed(ALL, 100, LeftOffsets(((5, 6), (50, 52)))), Passed(LONG, 60)]
    assert start_of(before, ALL, 0) == start_of(before, KIDS, 0) == 5
    assert start_of(before, ELSEWHERE, 3) == 3
    now = advanced(before, ALL, 20, LeftOffsets(), 0)
    assert now == [Passed(LONG, 60), Passed(ALL, 100, LeftOffsets(((50, 52),)))]
    assert advanced(before, ALL, 120, LeftOffsets(((51, 52),)), 0) == [Passed(ALL, 120, LeftOffsets(((51, 52),)))]


@dataclass
class Topic:
    """A partition of letters, what was put back of it, and the memory of that, as the redrive works over it."""

    letters: list[RedriveLetter]
    passed: list[Passed] = field(default_factory=list)
    put_back: list[tuple[str, int]] = field(default_factory=list)

    def redrive(self, selection: Selection, batch: int, stops: int, unwritable: set[int]) -> None:
        """One run that commits after each batch, and dies after so many of them."""
        before = from_metadata(0, to_metadata(self.passed)) if self.passed else []
        start, left, upto = start_of(before, selection, 0), LeftOffsets(), 0
        for number, item in enumerate(self.letters[start:], start):
            if selection.passes(item) and not any(known.saw_to(item, selection) for known in before):
                if number in unwritable:
                    left = left.plus([number])
                else:
                    self.put_back.append((selection.destination(item) or "", number))
            upto = number + 1
            if (upto - start) % batch == 0 or upto == len(self.letters):
                self.passed = advanced(before, selection, upto, left, 0)
                stops -= 1
                if not stops:
                    return


SELECTIONS = st.builds(
    Selection,
    st.builds(
        Filters,
        reason=st.sampled_from([None, None, Reason.TOO_LONG, Reason.INVALID_JSON]),
        stage=st.sampled_from([None, None, Stage.RENDER]),
        tenant=st.sampled_from([None, None, "kids"]),
        since_ms=st.sampled_from([None, None, 5, 15]),
        until_ms=st.sampled_from([None, None, 10]),
    ),
    to=st.sampled_from([None, None, "in", "elsewhere"]),
)
RUNS = st.lists(
    st.tuples(SELECTIONS, st.integers(1, 4), st.integers(1, 6), st.sets(st.integers(0, 19), max_size=3)), max_size=6
)
LETTERS = st.lists(
    st.tuples(
        st.sampled_from([Reason.TOO_LONG, Reason.INVALID_JSON, Reason.NOT_RENDERED]), st.sampled_from(["kids", "games"])
    ),
    min_size=1,
    max_size=20,
)


@given(LETTERS, RUNS)
def test_p1_each_letter_asked_for_is_put_back_exactly_once_for_each_destination(
    kinds: list[tuple[Reason, str]], runs: list[tuple[Selection, int, int, set[int]]]
) -> None:
    topic = Topic([letter(offset, *kind, written_ms=offset) for offset, kind in enumerate(kinds)])
    for run in runs:
        topic.redrive(*run)
    for selection, *_ in runs:
        topic.redrive(selection, 3, 1000, set())  # what was stopped or could not be written is made up for
    assert len(topic.put_back) == len(set(topic.put_back))
    asked = {
        (selection.destination(item) or "", item.record.offset)
        for selection, *_ in runs
        for item in topic.letters
        if selection.passes(item)
    }
    assert set(topic.put_back) == asked


@pytest.mark.parametrize("metadata", ["", "x", "[]", "3", '{"other": 1}', "\x00", "[" * 5000])
def test_foreign_metadata_means_that_all_before_was_seen_to(metadata: str) -> None:
    assert from_metadata(7, metadata) == [Passed(ALL, 7)]


@pytest.mark.parametrize(
    "metadata",
    [
        '{"weir_redrive": 2, "passed": []}',
        '{"weir_redrive": 1}',
        '{"weir_redrive": 1, "passed": [{"upto": "x", "left": []}]}',
        '{"weir_redrive": 1, "passed": [{"upto": 1, "left": [1]}]}',
        '{"weir_redrive": 1, "passed": [{"upto": 1, "left": [], "reason": "of_tomorrow"}]}',
        '{"weir_redrive": 1, "passed": [{"upto": 1, "left": [], "colour": "red"}]}',
        '{"weir_redrive": 1, "passed": [1]}',
    ],
)
def test_metadata_of_another_version_is_an_error_and_never_a_letter_not_put_back(metadata: str) -> None:
    with pytest.raises(ModerationError, match="another version"):
        from_metadata(7, metadata)


def test_metadata_comes_back_as_it_was_written() -> None:
    everything = Filters(Reason.TOO_LONG, Stage.RENDER, "kinder-ü", 1, 2, "r1")
    passed = [Passed(Selection(everything, "there"), 9, LeftOffsets(((1, 3), (5, 6)))), Passed(ALL, 10**18)]
    text = to_metadata(passed)
    assert text.isascii()
    assert from_metadata(0, text) == passed


def test_more_selections_than_fit_are_refused_with_the_way_out() -> None:
    passed = [Passed(Selection(Filters(tenant=f"tenant-{number}")), 10**9) for number in range(100)]
    with pytest.raises(ModerationError, match="without filters, or give --group"):
        to_metadata(passed)
    assert len(to_metadata(advanced(passed, ALL, 10**9, LeftOffsets(), 0))) < MAX_METADATA


@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)), st.integers(0, 60))
def test_left_offsets_are_a_set_in_ranges(some: set[int], more: set[int], cut: int) -> None:
    left = LeftOffsets().plus(some).plus(more)
    everything = some | more
    assert [offset for offset in range(62) if offset in left] == sorted(everything)
    assert [offset for offset in range(62) if offset in left.since(cut)] == sorted(o for o in everything if o >= cut)
    assert [offset for offset in range(62) if offset in left.before(cut)] == sorted(o for o in everything if o < cut)
    assert from_numbers(left.to_numbers()) == left
    assert bool(left) is bool(everything)


def test_of_too_many_left_offsets_the_first_are_remembered() -> None:
    left = LeftOffsets().plus(range(0, 1000, 2))
    assert (0 in left, 2 * (MAX_RANGES - 1) in left, 2 * MAX_RANGES in left) == (True, True, False)
