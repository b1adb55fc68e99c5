"""A dead letter written as a record and read back: nothing of the original is lost, and only our headers are added."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.dead_letter import BROKER, MAX_DETAIL, OWN, DeadLetter, dead_letter, read_dead_letter
from schemas.errors import EventError, ItemError, TerminalError, UnparsableOutputError
from schemas.reasons import STAGE_OF, Reason, Stage
from schemas.record import Headers, SourceRecord
from schemas.verdict import Provenance

PROVENANCE = Provenance(
    model="demo", revision="r1", prompt_sha256="p1", engine="reference", dtype="float32", parser="1"
)
ERROR = EventError(Reason.INVALID_JSON, "value: not JSON")


def record(headers: Headers = (), *, key: bytes | None = b"\x00\xff", value: bytes | None = b"\xff{") -> SourceRecord:
    return SourceRecord("chat.events", 3, 41, 1_700_000_000_000, key, value, headers)


def letter(source: SourceRecord, error: TerminalError = ERROR) -> DeadLetter:
    return dead_letter(source, error, group="weir")


def as_read(written: DeadLetter) -> SourceRecord:
    """The record that a producer makes of a dead letter, as a consumer gets it back."""
    return SourceRecord("moderation.dlq", 0, 7, 0, written.key, written.value or b"", tuple(written.record_headers))


NAMES = st.text(st.sampled_from("abc,#0 é"), max_size=3)
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=3)), max_size=6).map(tuple)


@given(HEADERS, st.none() | st.binary(max_size=3), st.none() | st.binary(max_size=3))
def test_it_is_read_back_as_it_was_written(headers: Headers, key: bytes | None, value: bytes | None) -> None:
    written = letter(record(headers, key=key, value=value))
    assert read_dead_letter(as_read(written)) == written
    assert written.headers == headers


def test_all_fields_round_trip() -> None:
    written = dead_letter(
        record((("traceparent", b"00-a-b-01"), (OWN + "redrive_count", b"4"))),
        UnparsableOutputError("lines: 2 are needed"),
        group="weir",
        attempts=3,
        provenance=PROVENANCE,
        raw_output_sha256="ab" * 32,
    )
    assert written.redrive_count == 4
    assert (written.model_revision, written.prompt_sha256) == ("r1", "p1")
    read = read_dead_letter(as_read(written.model_copy(update={"value_dropped": True})))
    assert read == written.model_copy(update={"value_dropped": True, "headers": (("traceparent", b"00-a-b-01"),)})


def test_headers_of_the_brokers_family_name_the_place() -> None:
    headers = dict(letter(record()).record_headers)
    assert headers[BROKER + "topic"] == b"chat.events"
    assert headers[BROKER + "partition"] == b"3"
    assert headers[BROKER + "offset"] == b"41"
    assert headers[BROKER + "group"] == b"weir"
    assert headers[OWN + "reason"] == b"invalid_json"
    assert headers[OWN + "stage"] == b"decode"


def test_headers_of_an_earlier_dead_letter_are_replaced_and_not_repeated() -> None:
    once = letter(record((("a", b"1"), (BROKER + "topic", b"forged"))))
    twice = letter(SourceRecord("chat.events", 0, 9, 0, once.key, once.value, tuple(once.record_headers)), ERROR)
    names = [name for name, _ in twice.record_headers]
    assert len(names) == len(set(names))
    assert dict(twice.record_headers)[BROKER + "topic"] == b"chat.events"


@pytest.mark.parametrize("count", [b"", b"-1", b"x", b"9" * 5000, "١".encode()])
def test_a_nonsense_redrive_count_counts_as_none(count: bytes) -> None:
    assert letter(record(((OWN + "redrive_count", count),))).redrive_count == 0


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_its_stage(reason: Reason) -> None:
    written = letter(record(), ItemError(reason, "one item"))
    assert written.stage is STAGE_OF[reason]
    assert dict(written.record_headers)[OWN + "stage"] == STAGE_OF[reason].encode()


def test_stages_are_those_of_the_convention() -> None:
    assert [str(stage) for stage in Stage] == ["consume", "decode", "validate", "render", "infer", "parse", "publish"]


def test_a_long_detail_is_cut() -> None:
    assert len(letter(record(), EventError(Reason.WRONG_TYPE, "x" * 1000)).detail) == MAX_DETAIL


BROKEN: list[tuple[str, bytes | None]] = [
    (BROKER + "topic", None),
    (BROKER + "partition", b"-1"),
    (BROKER + "offset", b"one"),
    (BROKER + "offset", b"9" * 5000),
    (OWN + "reason", b"canary"),
    (OWN + "reason", None),
    (OWN + "attempts", b"canary"),
    (OWN + "redrive_count", b"\xff"),
]


@pytest.mark.parametrize(("name", "value"), BROKEN)
def test_a_header_that_is_wrong_or_missing_is_named_without_its_value(name: str, value: bytes | None) -> None:
    headers = [(header, given) for header, given in letter(record()).record_headers if header != name]
    if value is not None:
        headers.append((name, value))
    with pytest.raises(ValueError, match=re.escape(name)) as raised:
        read_dead_letter(SourceRecord("moderation.dlq", 0, 7, 0, None, b"", tuple(headers)))
    assert "canary" not in str(raised.value)
