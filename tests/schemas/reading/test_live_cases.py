"""Records as real producers write them, one by one with the event that each is: what broke, and more of each kind."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.errors import EventError
from schemas.event import ChatEvent, decode_event
from schemas.handling import Handled
from schemas.reasons import Reason
from schemas.record import Headers, SourceRecord

MAX_BYTES = 4 * 2**20
DATA = {"event_id": "m1", "text": "hello"}
CLOUD = {"specversion": "1.0", "id": "ce-1", "source": "/chat", "type": "chat.message"}
STRUCTURED: Headers = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)
BINARY: Headers = tuple((f"ce_{name}", value.encode()) for name, value in CLOUD.items())
UNREADABLE = {Handled.CREATED_AT_UNREADABLE: 1}
NOON = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TRACE = "00-113ad9c4e42b27583ae98ba698d54255-e3743e35ff56f219-01"
DAPR = {
    **CLOUD, "data": DATA, "datacontenttype": "application/json", "expiration": "2026-01-01T00:00:00Z",
    "pubsubname": "p", "topic": "t", "time": "2026-01-02T03:04:05Z", "traceid": TRACE, "traceparent": TRACE,
    "tracestate": "",
}  # fmt: skip
DEBEZIUM = {
    **CLOUD, "time": "2026-01-02T03:04:05.000Z", "datacontenttype": "application/json", "iodebeziumop": "c",
    "iodebeziumtxId": "578", "iodebeziumxmin": None, "iodebeziumtxtotalorder": None, "data": DATA,
}  # fmt: skip


def decoded(value: Any, headers: Headers = ()) -> ChatEvent:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return decode_event(SourceRecord("chat.events", 0, 1, 0, None, raw, headers), MAX_BYTES)


def event(**fields: Any) -> dict[str, Any]:
    return {"event_id": "m1", "text": "hello", **fields}


@pytest.mark.parametrize(
    ("value", "field", "wanted"),
    [
        (event(event_id=1234567890123456789), "event_id", "1234567890123456789"),
        (event(event_id=-5), "event_id", "-5"),
        (event(event_id=10**30), "event_id", "1" + "0" * 30),
        (event(event_id=7.0), "event_id", "7"),
        (event(event_id={"$oid": "5fda28190d4b6097afba6340"}), "event_id", "5fda28190d4b6097afba6340"),
        (event(event_id={"$numberInt": "5"}), "event_id", "5"),
        (event(conversation_id={"$numberLong": "-5"}), "conversation_id", "-5"),
        (event(conversation_id=-1001234567890), "conversation_id", "-1001234567890"),
        (event(tenant=81384788765712384), "tenant", "81384788765712384"),
        (event(tenant=None), "tenant", "default"),
        (event(tenant=""), "tenant", "default"),
        (event(conversation_id=None), "conversation_id", None),
        (event(conversation_id=""), "conversation_id", None),
        (event(schema_version=None), "schema_version", "1.0"),
        (event(schema_version=1), "schema_version", "1.0"),
        (event(schema_version="1"), "schema_version", "1.0"),
        (event(schema_version=1.2), "schema_version", "1.2"),
        (event(created_at=None), "created_at", None),
        (event(created_at=""), "created_at", None),
        (event(created_at=1767323045), "created_at", NOON),
        (event(created_at=1767323045000), "created_at", NOON),
        (event(created_at=1767323045000000), "created_at", NOON),
        (event(created_at=1767323045000000000), "created_at", NOON),
        (event(created_at="1767323045.000000"), "created_at", NOON),
        (event(created_at="2026-01-02 03:04:05"), "created_at", NOON),
        (event(created_at="2026-01-02 03:04:05 UTC"), "created_at", NOON),
        (event(created_at="2026-01-02 03:04:05+00"), "created_at", NOON),
        (event(created_at="2026-01-02T04:04:05+01:00[Europe/Paris]"), "created_at", NOON),
        (event(created_at="Fri, 02 Jan 2026 03:04:05 GMT"), "created_at", NOON),
        (event(created_at={"$numberLong": "1767323045000"}), "created_at", NOON),
        (event(created_at="/Date(1767323045000+0100)/"), "created_at", NOON),
        (
            event(created_at={"date": "2026-01-02 04:04:05.000000", "timezone_type": 1, "timezone": "+01:00"}),
            "created_at",
            NOON,
        ),
        (event(created_at={"$date": "2026-01-02T03:04:05Z"}), "created_at", NOON),
        (event(conversation_id="room \ud83d"), "conversation_id", "room \ufffd"),
        (event(event_id="\ud83d\ude00"), "event_id", "😀"),
    ],
)
def test_a_field_in_another_form_has_its_value(value: dict[str, Any], field: str, wanted: Any) -> None:
    assert getattr(decoded(value), field) == wanted


@pytest.mark.parametrize("time", [[2026, 1, 1], True, "soon", {"at": 1}, "1" * 40, 1e300, "2026-02-30T00:00:00Z"])
def test_a_time_that_cannot_be_read_costs_nothing_and_is_counted(time: Any) -> None:
    read = decoded(event(created_at=time))

    assert (read.created_at, read.handling, read.messages[0]["content"]) == (None, UNREADABLE, "hello")


@pytest.mark.parametrize(
    "fields",
    [
        {"text": "hello", "messages": None},
        {"text": "hello", "messages": []},
        {"text": None, "messages": [{"role": "user", "content": "hello"}]},
        {"text": "", "messages": [{"role": "user", "content": "hello"}]},
        {"text": [{"type": "text", "text": "hello"}]},
        {"text": ["he", "llo"]},
        {"messages": ' [{"role": "user", "content": "hello"}]'},
    ],
)
def test_of_text_and_messages_the_one_that_is_there_counts(fields: dict[str, Any]) -> None:
    assert decoded({"event_id": "e", **fields}).messages == ({"role": "user", "content": "hello"},)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"event_id": "e", "text": ""}, Reason.BLANK_TEXT),
        ({"event_id": "e", "text": None, "attachments": [{"url": "https://x.invalid/a.png"}]}, Reason.BLANK_TEXT),
        ({"event_id": "e", "attachments": [{"url": "https://x.invalid/a.png"}]}, Reason.BLANK_TEXT),
        ({"event_id": "e", "messages": None, "text": " \t"}, Reason.BLANK_TEXT),
        ({"event_id": "e", "text": [], "messages": None}, Reason.BLANK_TEXT),
        (b"", Reason.TOMBSTONE),
        (b"null", Reason.TOMBSTONE),
        (b"\xef\xbb\xbf", Reason.TOMBSTONE),
        (b"  \n", Reason.BLANK_TEXT),
        ({"event_id": "e", "attachments": []}, Reason.MISSING_FIELD),
        ({"event_id": "e"}, Reason.MISSING_FIELD),
        ({"event_id": "e", "messages": None}, Reason.MISSING_FIELD),
    ],
)
def test_nothing_to_judge_is_told_from_what_is_missing(value: Any, reason: Reason) -> None:
    with pytest.raises(EventError) as raised:
        decoded(value)
    assert raised.value.reason is reason


ENVELOPES: list[tuple[str, Any, Headers]] = [
    ("Dapr without a header", DAPR, ()),
    ("Dapr as JSON", DAPR, (("content-type", b"application/json"),)),
    ("Dapr in structured mode", DAPR, STRUCTURED),
    ("Dapr, data as a text", {**DAPR, "data": json.dumps(DATA)}, ()),
    ("Debezium without a header", DEBEZIUM, ()),
    ("Debezium in structured mode", DEBEZIUM, STRUCTURED),
    *(
        (f"null {name}", {**CLOUD, name: None, "data": DATA}, STRUCTURED)
        for name in ("subject", "time", "datacontenttype", "dataschema", "extension", "data_base64")
    ),
    *(
        (f"empty {name}", {**CLOUD, name: "", "data": DATA}, STRUCTURED)
        for name in ("subject", "time", "datacontenttype", "dataschema")
    ),
    ("odd extensions", {**CLOUD, "traceParent": "x", "data_ref": 1, "a-b": True, "n": [1], "data": DATA}, STRUCTURED),
    ("a type of XML around an object", {**CLOUD, "datacontenttype": "text/xml", "data": DATA}, STRUCTURED),
    ("numbers for attributes", {**CLOUD, "id": 5, "specversion": 1.0, "data": DATA}, STRUCTURED),
    ("binary", DATA, BINARY),
    ("binary with odd attributes", DATA, (*BINARY, ("ce_time", b""), ("ce_subject", None), ("ce_x-id", b"\xff"))),
    ("binary, text/json", DATA, (*BINARY, ("content-type", b"text/json"))),
    ("binary, quoted by Spring", DATA, tuple((name, b'"%b"' % (value or b"")) for name, value in BINARY)),
    *(
        (f"binary with {prefix}", {"text": "hello"}, tuple((f"{prefix}{name}", frame(value.encode()))
         for name, value in {**CLOUD, "id": "m1"}.items()))
        for prefix in ("ce-", "CE_", "cloudEvents:", "cloudEvents_")
        for frame in (bytes, lambda text: b"\xa1" + bytes([len(text)]) + text)
    ),
    ("EventBridge", {"version": "0", "id": "m1", "detail-type": "Chat", "source": "s", "time": "2026-01-02T03:04:05Z",
     "detail": {"text": "hello"}}, ()),
    ("a stray header of a gateway's", DATA, (("ce_region", b"eu"), ("ce-ray", b"1"))),
    ("an attribute that is null", DATA, (("ce_id", None),)),
    *(
        (f"content type {name!r}", DATA, (("content-type", name),))
        for name in (
            b"text/json", b"text/json; charset=utf-8", b"application/x-json", b"application/octet-stream", b"",
            b'"application/json"', b"application/x-ndjson", b"\xa1\x10application/json", b" Application/JSON ",
        )
    ),
    ("a registry's frame", b"\x00\x00\x00\x00\x07" + json.dumps(DATA).encode(), ()),
    ("a large id in it", b"\x00\x00\x01\x86\xa1" + json.dumps(DATA).encode(), (("content-type", b"application/json"),)),
    ("a frame with a GUID", b"\x01" + bytes(range(16)) + json.dumps(DATA).encode(), ()),
    ("Apicurio's frame", b"\0" + (7).to_bytes(8, "big") + json.dumps(DATA).encode(), ()),
    ("AWS Glue's frame", b"\x03\0" + bytes(range(16)) + json.dumps(DATA).encode(), ()),
    ("the zero that ends a text of C's", json.dumps(DATA).encode() + b"\0", ()),
    ("a byte order mark", b"\xef\xbb\xbf" + json.dumps(DATA).encode(), ()),
    ("a mark in a frame", b"\x00\x00\x00\x00\x07\xef\xbb\xbf" + json.dumps(DATA).encode(), ()),
    ("Connect's schema beside it", {"schema": {"type": "struct"}, "payload": DATA}, ()),
    ("JSON as a text", json.dumps(json.dumps(DATA)).encode(), ()),
    ("Dapr in a frame", b"\x00\x00\x00\x00\x07" + json.dumps(DAPR).encode(), ()),
    ("a plain event with a CloudEvent's field", {**DATA, "specversion": "1.0"}, ()),
]  # fmt: skip


@pytest.mark.parametrize(("value", "headers"), [case[1:] for case in ENVELOPES], ids=[case[0] for case in ENVELOPES])
def test_an_envelope_is_opened(value: Any, headers: Headers) -> None:
    read = decoded(value, headers)

    assert (read.event_id, read.messages[0]["content"]) == ("m1", "hello")


def test_the_time_of_an_envelope_is_the_events_in_any_form() -> None:
    for time in ("2026-01-02T03:04:05Z", "2026-01-02 03:04:05 UTC", 1767323045):
        assert decoded({**CLOUD, "time": time, "data": DATA}, STRUCTURED).created_at == NOON
    assert decoded(DATA, (*BINARY, ("ce_time", b"2026-01-02T03:04:05Z"))).created_at == NOON
    assert decoded(DATA, (*BINARY, ("ce_time", b"2026-01-02T03%3A04%3A05Z"))).created_at == NOON
    for headers in ((*BINARY, ("ce_time", b"\xff")), (*BINARY, ("ce_time", b"soon"))):
        assert decoded(DATA, headers).handling == UNREADABLE


def test_bytes_of_half_a_character_are_judged_and_other_encodings_are_not_guessed() -> None:
    assert (
        decoded(b'{"event_id": "e", "text": "\xed\xa0\xbd\xed\xb8\x80 \xed\xa0\xbd"}').messages[0]["content"]
        == "😀 \ufffd"
    )
    with pytest.raises(EventError) as raised:
        decoded('{"event_id": "e", "text": "café noir"}'.encode("latin-1"))
    assert raised.value.reason is Reason.NOT_UTF8


@pytest.mark.parametrize(
    ("cut", "text"),
    [
        (b"great day \xf0\x9f\x98", "great day \ufffd"),
        (b"great day \xf0", "great day \ufffd"),
        (b"\x98\x80 great day \xe2\x82", "\ufffd great day \ufffd"),
        ("whole 😀é€".encode(), "whole 😀é€"),
    ],
)
def test_a_character_that_was_cut_by_bytes_is_no_way_to_escape_judgement(cut: bytes, text: str) -> None:
    read = decoded(b'{"event_id": "e", "text": "' + cut + b'"}')

    assert read.messages[0]["content"] == text
    assert read.handling.get(Handled.SURROGATES_REPLACED, 0) == text.count("\ufffd")


@pytest.mark.parametrize(
    "value",
    [
        b'{"event_id": "e", "text": "hello\tyou\nthere"}',
        b'{"event_id": "e", "text": "hello\\tyou\\nthere", "n": ' + b"9" * 5_000 + b"}",
        b'{"event_id": "e", "text": "hello\\tyou\\nthere", "n": [NaN, 1e999]}',
    ],
)
def test_what_is_not_quite_json_and_means_one_thing_only_is_judged(value: bytes) -> None:
    assert decoded(value).messages[0]["content"] == "hello\tyou\nthere"


@pytest.mark.parametrize("name", [b"text/plain", b"application/avro", b"json", b"\xff", b"text/plain; charset=utf-16"])
def test_a_content_type_that_is_no_json_costs_nothing_where_the_value_is(name: bytes) -> None:
    frame = b"\x00\x00\x00\x00\x07"
    for value in (DATA, b" " + json.dumps(DATA).encode(), frame + json.dumps(DATA).encode()):
        assert decoded(value, (("content-type", name),)).event_id == "m1"


@pytest.mark.parametrize("data", [{}, {"data": None}, {"data": ""}, {"data_base64": ""}])
def test_a_cloud_event_of_what_was_deleted_holds_nothing_to_judge(data: dict[str, Any]) -> None:
    with pytest.raises(EventError) as raised:
        decoded({**CLOUD, **data}, STRUCTURED)
    assert raised.value.reason is Reason.TOMBSTONE


def test_an_empty_id_of_the_event_is_that_of_its_envelope() -> None:
    assert decoded({**CLOUD, "data": {"event_id": "", "text": "hello"}}, STRUCTURED).event_id == "ce-1"
    assert decoded({"event_id": "", "text": "hello"}, BINARY).event_id == "ce-1"


def test_a_history_of_any_length_is_read() -> None:
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}] * 2_000
    long = [{"role": "user", "content": "word " * 60_000}] * 4

    assert len(decoded({"event_id": "e", "messages": turns}).messages) == 4_000
    assert len(decoded({"event_id": "e", "messages": [*long, {"role": "user", "content": "hi"}]}).messages) == 5
