"""The ledger of turns: proven where each that was ended has one last verdict, refuted by each way of losing one."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.policy import Policy, load_policy
from pipelines.turns.frames import TurnRules
from pipelines.turns.port import PushAnswer, TurnKey
from pipelines.turns.turn import Turn
from schemas.dead_letter import dead_letter
from schemas.errors import EventError
from schemas.reasons import Reason
from schemas.record import Partition, SourceRecord
from schemas.turns.frame import read_frame
from schemas.turns.verdict import StreamProvenance, StreamVerdict
from tests.guards.turn_judges import NEXT, PROVENANCE, token
from workers.tools.verify.turn_ledger import TurnBook, TurnLedger

DELTAS, SAID, LETTERS = "chat.deltas", "moderation.stream", "moderation.dlq"
MESSAGES = [{"role": "user", "content": "where?"}]
ASKED = 2  # frames of a turn


class Book:
    """A book with turns of two frames, one behind the other, in partition 0."""

    def __init__(self, turns: int = 1, committed: int | None = None, *, is_final: bool = True, **options: Any) -> None:
        ends = ASKED * turns if committed is None else committed
        self.book = TurnBook({Partition(DELTAS, 0): ends}, max_event_bytes=10_000, **options)
        self.frames: list[SourceRecord] = []
        self.written = 0
        for number in range(turns):
            self.frame({"seq": 0, "messages": MESSAGES, "delta": "a!"}, number)
            self.frame({"seq": 1, "delta": "b", "final": is_final}, number)

    def frame(self, fields: dict[str, Any], number: int = 0) -> SourceRecord:
        value = json.dumps({"conversation_id": f"c{number}", "turn": 0, **fields}).encode()
        return self.raw(value)

    def raw(self, value: bytes | None) -> SourceRecord:
        record = SourceRecord(DELTAS, 0, len(self.frames), 0, b"c", value, ())
        self.frames.append(record)
        self.book.add_frame(record)
        return record

    def write(self, *values: bytes) -> None:
        for value in values:
            self.book.add_verdict(SourceRecord(SAID, 0, self.written, 0, b"c", value, ()))
            self.written += 1

    def refuse(self, record: SourceRecord) -> None:
        letter = dead_letter(record, EventError(Reason.INVALID_VALUE, "seq: 0"), group="g")
        self.book.add_dead_letter(SourceRecord(LETTERS, 0, 0, 0, None, b"", tuple(letter.record_headers)))

    def close(self, **options: bool) -> TurnLedger:
        return self.book.close(**options)


def said(
    number: int = 0, by: StreamProvenance = PROVENANCE, end: str = "final", policy: Policy | None = None
) -> list[StreamVerdict]:
    """What a worker says of such a turn: that it was raised, and its end."""
    rules = TurnRules() if policy is None else TurnRules(policy=policy)
    turn = Turn(TurnKey("default", f"c{number}", 0), rules)
    first = {"conversation_id": "c", "turn": 0, "seq": 0, "messages": MESSAGES, "delta": "a!b"}
    turn.frames.take(read_frame({**first, "final": end == "final"}))
    if end != "final":
        turn.frames.close(end)  # type: ignore[arg-type]
    assert turn.next_push({}) is not None
    tokens = [token(index, letter, raised=index > 0) for index, letter in enumerate("a!b")]
    news = turn.answered(PushAnswer(tokens, None), by)
    return [*(turn.raised_verdict(token) for token in news.raises), turn.end_verdict()]


def lines(*verdicts: StreamVerdict) -> list[bytes]:
    return [verdict.to_bytes() for verdict in verdicts]


def broken(ledger: TurnLedger) -> set[str]:
    return {name for name, holds in ledger.promises.items() if not holds}


def test_p1_every_turn_with_its_last_verdict_proves_it() -> None:
    book = Book(3)
    for number in range(3):
        book.write(*lines(*said(number)))
    ledger = book.close()

    assert ledger.is_proven
    assert (ledger.turns, ledger.ended, ledger.open, ledger.raises, ledger.findings) == (3, 3, 0, 3, ())


def test_p1_a_turn_that_is_committed_past_without_its_last_verdict_is_missing_and_named() -> None:
    book = Book(2)
    raised, _ = said(1)
    book.write(*lines(*said(0), raised))
    ledger = book.close(tail_allowed=True)

    assert broken(ledger) == {"P1"}
    assert [(finding.kind, finding.record_id) for finding in ledger.findings] == [("missing", f"{DELTAS}-0-2")]


def test_p1_what_is_not_committed_may_be_on_its_way_and_an_open_turn_has_no_end() -> None:
    assert Book(1, 0).close(tail_allowed=True).is_proven
    assert broken(Book(1, 0).close()) == {"P1"}
    ledger = Book(1, 0, is_final=False).close()
    assert (ledger.is_proven, ledger.open, ledger.not_yet_judged) == (True, 1, 0)


def test_p1_a_frame_that_cannot_be_read_needs_a_dead_letter_and_an_empty_one_none() -> None:
    for has_letter in (True, False):
        book = Book(0, 3)
        record = book.raw(b"{")
        book.raw(None)
        if has_letter:
            book.refuse(record)
        ledger = book.close()
        assert (ledger.is_proven, ledger.missing, ledger.skipped) == (has_letter, int(not has_letter), 1)


def test_a_turn_that_is_judged_again_under_another_policy_contradicts_nothing(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("{name: other, version: '1'}")
    book = Book()
    book.write(*lines(*said(), *said(policy=load_policy(file))))
    ledger = book.close()

    assert (ledger.is_proven, ledger.raises, ledger.findings) == (True, 2, ())


def test_a_first_frame_that_is_a_dead_letter_begins_no_turn() -> None:
    book = Book(0, 1)
    book.refuse(book.frame({"seq": 0, "messages": MESSAGES}))
    ledger = book.close()

    assert (ledger.is_proven, ledger.turns, ledger.dead_letters) == (True, 0, 1)


def test_p7_equal_copies_do_no_harm_and_others_of_one_id_do() -> None:
    book = Book()
    raised, last = said()
    book.write(*lines(raised, last, raised, last))
    assert (ledger := book.close()).is_proven
    assert ledger.duplicates == 2

    book = Book()
    book.write(*lines(raised, last, last.model_copy(update={"offset": 1})))
    assert broken(book.close()) == {"P7"}


def test_a_turn_that_was_judged_again_by_another_model_or_to_its_end_is_counted() -> None:
    book = Book()
    book.write(*lines(*said(), *said(by=NEXT)))
    ledger = book.close()
    assert (ledger.is_proven, ledger.rejudged, ledger.judged_on) == (True, 1, 0)

    book = Book()
    book.write(*lines(*said(end="idle"), said()[1]))
    ledger = book.close()
    assert (ledger.is_proven, ledger.rejudged, ledger.judged_on) == (True, 0, 1)


def test_p1_two_settled_ends_by_one_model_contradict_each_other() -> None:
    raised, last = said()
    for other in (last.model_copy(update={"verdict_id": "f" * 32, "end": "too_long"}),):
        book = Book()
        book.write(*lines(raised, last, other))
        ledger = book.close()
        assert (broken(ledger), ledger.conflicting) == ({"P1"}, 1)


def test_an_end_that_takes_a_raise_back_contradicts_it() -> None:
    raised, last = said()
    book = Book()
    book.write(*lines(raised, last.model_copy(update={"raised": False})))
    assert (ledger := book.close()).conflicting == 1
    assert broken(ledger) == {"P1"}


def test_p8_a_raise_behind_the_end_is_out_of_order() -> None:
    raised, last = said()
    book = Book()
    book.write(*lines(last, raised))
    assert broken(book.close()) == {"P8"}


def test_p3_what_is_no_verdict_is_said_without_its_text() -> None:
    book = Book()
    book.write(*lines(*said()), b'{"risk": "kookaburra"}')
    ledger = book.close()
    assert broken(ledger) == {"P1", "P3"}
    assert "kookaburra" not in str(ledger.findings)


@pytest.mark.parametrize("is_whole", [True, False])
def test_verdicts_of_a_turn_without_frames_are_unknown_where_all_frames_were_read(is_whole: bool) -> None:
    book = Book(0, is_whole=is_whole)
    book.write(*lines(*said()))
    ledger = book.close()
    assert (ledger.is_proven, ledger.unknown, ledger.outside) == (not is_whole, int(is_whole), int(not is_whole))
