"""Dead letters of all who write them: the original as it was, or a word on why it cannot be told."""

import pytest

from schemas.dead_letter import BROKER, OWN, REDRIVE_COUNT, dead_letter
from schemas.errors import TerminalError
from schemas.reasons import Reason
from schemas.record import Headers, SourceRecord
from workers.tools.dead_letters.dead_letters import Filters
from workers.tools.dead_letters.redrive.letters import CLOCK_SKEW_MS, CONNECT, STREAMS, Family, redrive_letter

ORIGINAL: Headers = (("h", None), ("traceparent", b"00-a-b-01"), ("h", b"1"))
KEY, VALUE = b"\x00\xff", b'{"tenant": "kids"}'


def source_headers(
    prefix: str, topic: bytes = b"chat.events", partition: bytes = b"3", offset: bytes = b"41"
) -> Headers:
    return ((prefix + "topic", topic), (prefix + "partition", partition), (prefix + "offset", offset))


def record(headers: Headers, key: bytes | None = KEY, value: bytes | None = VALUE) -> SourceRecord:
    return SourceRecord("dlq", 1, 7, 5000, key, value, headers)


def ours(**update: object) -> SourceRecord:
    source = SourceRecord("chat.events", 3, 41, 0, KEY, VALUE, ORIGINAL)
    letter = dead_letter(source, TerminalError(Reason.TOO_LONG, "x"), group="weir").model_copy(update=update)
    return record(tuple(letter.record_headers), letter.key, letter.value)


OTHERS = {
    Family.BROKER: (BROKER, ((BROKER + "group", b"g"), (BROKER + "delivery.count", b"5"), (BROKER + "message", b"m"))),
    Family.CONNECT: (
        CONNECT,
        ((CONNECT + "stage", b"TASK_PUT"), (CONNECT + "exception.class.name", b"org.x.RetriableException"),
         (CONNECT + "exception.stacktrace", None)),
    ),
    Family.STREAMS: (STREAMS, ((STREAMS + "exception", b"org.x.RetriableException"), (STREAMS + "message", b"m"))),
}  # fmt: skip


def test_a_letter_of_ours_gives_back_its_original() -> None:
    found = redrive_letter(ours(redrive_count=2, model_revision="r1"))
    assert found.original == SourceRecord("chat.events", 3, 41, 5000, KEY, VALUE, ORIGINAL)
    assert (found.family, found.count, found.cause) == (Family.WEIR, 2, ("too_long", "render"))
    assert (found.reason, found.model_revision, found.is_pointer) == (Reason.TOO_LONG, "r1", False)
    assert found.passes(Filters(tenant="kids", reason=Reason.TOO_LONG, model_revision="r1"))


@pytest.mark.parametrize("family", OTHERS)
def test_a_letter_of_another_tool_gives_back_its_original(family: Family) -> None:
    prefix, words = OTHERS[family]
    found = redrive_letter(record((*ORIGINAL, *source_headers(prefix), (REDRIVE_COUNT, b"2"), *words)))
    assert found.original == SourceRecord("chat.events", 3, 41, 5000, KEY, VALUE, ORIGINAL)
    assert (found.family, found.count, found.is_pointer) == (family, 2, False)
    assert found.passes(Filters(tenant="kids"))
    assert not found.passes(Filters(reason=Reason.TOO_LONG))


def test_the_words_of_other_tools_are_shown_only_where_they_are_what_they_should_be() -> None:
    def cause(stage: bytes, name: bytes) -> tuple[str, str]:
        words = ((CONNECT + "stage", stage), (CONNECT + "exception.class.name", name))
        return redrive_letter(record((*source_headers(CONNECT), *words))).cause

    assert cause(b"TASK_PUT", b"org.x.Oops$Inner") == ("org.x.Oops$Inner", "TASK_PUT")
    assert cause(b"some message text", b"some message text") == ("", "")
    assert cause(b"\xff", b"\xff") == ("", "")


@pytest.mark.parametrize(
    ("key", "value", "is_pointer"), [(None, None, True), (b"k", None, False), (None, b"", False), (b"k", b"v", False)]
)
def test_a_share_groups_letter_of_neither_key_nor_value_is_a_pointer(
    key: bytes | None, value: bytes | None, is_pointer: bool
) -> None:
    assert redrive_letter(record(source_headers(BROKER), key, value)).is_pointer is is_pointer
    assert redrive_letter(record(source_headers(CONNECT), key, value)).is_pointer is False


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("kafka_dlt-original-offset", b"\0" * 8), ("kafka_dlt-original-topic", b"chat.events")),
        ((REDRIVE_COUNT, b"1"),),
        source_headers(BROKER, topic=b"a secret/"),
        source_headers(BROKER, topic=b".."),
        source_headers(BROKER, topic=b""),
        source_headers(BROKER, partition=b"-1"),
        source_headers(BROKER, offset=b"\x00\x00\x00\x07"),
        source_headers(BROKER, offset="١".encode()),
        source_headers(BROKER, offset=b"9" * 5000),
        source_headers(CONNECT)[:2],
        ((CONNECT + "topic", None), *source_headers(CONNECT)[1:]),
        source_headers(STREAMS)[:1],
        (*source_headers(BROKER), (OWN + "reason", b"of_tomorrow")),
        (*source_headers(BROKER, topic=b"a secret/"), (OWN + "reason", b"too_long")),
    ],
)
def test_what_does_not_say_where_it_comes_from_has_no_original_and_says_why(headers: Headers) -> None:
    found = redrive_letter(record(headers, value=b"a secret"))
    assert found.original is None
    assert found.fault
    assert "secret" not in found.fault
    assert found.passes(Filters())
    assert not found.passes(Filters(tenant="kids"))


def test_what_stands_at_the_source_of_a_pointer_must_be_able_to_be_its_original() -> None:
    found = redrive_letter(ours(value_dropped=True, value=b"", headers=()))
    there = SourceRecord("chat.events", 3, 41, 4000, KEY, VALUE, (*ORIGINAL, (OWN + "redrive_count", b"1")))
    assert found.is_pointer
    assert not found.passes(Filters(tenant="kids"))  # that is not known before it is fetched
    assert found.is_of(there)
    assert found.fetched(there) == there._replace(headers=ORIGINAL)
    assert not found.is_of(there._replace(key=b"another"))
    assert not found.is_of(there._replace(timestamp_ms=5001 + CLOCK_SKEW_MS))
    assert redrive_letter(ours(value_dropped=True, value=b"", key=None)).is_of(there)


def test_every_family_is_tested() -> None:
    assert {*OTHERS, Family.WEIR, Family.UNKNOWN} == set(Family)
