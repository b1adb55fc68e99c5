"""What is produced for an outcome: keys, partitions and headers, and null where Kafka allows it (P1)."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.moderation import Ruling
from schemas.dead_letter import DeadLetter, dead_letter, read_dead_letter
from schemas.errors import EventError
from schemas.reasons import Reason
from schemas.record import Headers, OutputRecord, SourceRecord
from tests.samples.verdict import VERDICT, VERDICT_TEXT
from workers.settings.sections import TopicSettings
from workers.stream.publisher import outcome_records, outcome_topic

TOPICS = TopicSettings(events=("in",), verdicts="out", dead_letters="dlq")
SEND_TRACE = [("traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01")]


def letter_of(**changes: Any) -> DeadLetter:
    record = SourceRecord("in", 5, 9, 1, b"key", b"value", ())._replace(**changes)
    return dead_letter(record, EventError(Reason.INVALID_JSON, "not JSON"), group="weir")


def records_of(
    ruling: Ruling, *, key: bytes | None = b"key", source: int = 5, partitions: int = 3
) -> list[OutputRecord]:
    record = SourceRecord("in", source, 9, 1, key, b"value", ())
    return outcome_records(ruling, TOPICS, record, SEND_TRACE, lambda _: partitions)


@pytest.mark.parametrize("key", [b"conversation", b""])
def test_a_verdict_keeps_its_event_s_key_and_leaves_the_partition_to_it(key: bytes) -> None:
    (record,) = records_of(Ruling(VERDICT_TEXT), key=key)

    assert record == OutputRecord(
        "out", None, key, VERDICT.to_bytes(), [("content-type", b"application/json"), *SEND_TRACE]
    )
    assert outcome_topic(Ruling(VERDICT_TEXT), TOPICS) == "out"


@pytest.mark.parametrize(("source", "count", "expected"), [(5, 3, 2), (5, 1, 0), (2, 3, 2), (5, 12, 5)])
def test_p8_the_verdict_of_an_event_without_a_key_goes_to_source_partition_modulo_n(
    source: int, count: int, expected: int
) -> None:
    records = records_of(Ruling(VERDICT_TEXT, ("blocked",)), key=None, source=source, partitions=count)

    assert [(record.topic, record.partition, record.key) for record in records] == [
        ("out", expected, None),
        ("blocked", expected, None),
    ]


def test_a_routed_verdict_goes_to_the_result_topic_first_and_to_each_extra_topic() -> None:
    records = records_of(Ruling(VERDICT_TEXT, ("blocked", "kids")))

    assert [record.topic for record in records] == ["out", "blocked", "kids"]
    assert len({(record.key, record.value) for record in records}) == 1


@pytest.mark.parametrize(("source", "count", "expected"), [(5, 3, 2), (5, 1, 0), (2, 3, 2), (5, 12, 5)])
def test_a_dead_letter_goes_to_source_partition_modulo_n(source: int, count: int, expected: int) -> None:
    (record,) = records_of(Ruling(letter_of(partition=source)), partitions=count)

    assert (record.topic, record.partition) == ("dlq", expected)


def test_p1_a_dead_letter_holds_the_original_bytes_and_headers_before_ours() -> None:
    headers: Headers = (("a", b"1"), ("a", b"2"), ("b", b"\xff\x00"))
    (record,) = records_of(Ruling(letter_of(headers=headers, value=b"\xff{")))

    assert (record.key, record.value) == (b"key", b"\xff{")
    assert record.headers[:3] == list(headers)
    ours = dict(record.headers[3:])
    assert ours["__dlq.errors.topic"] == b"in"
    assert (ours["__dlq.errors.partition"], ours["__dlq.errors.offset"]) == (b"5", b"9")
    assert (ours["moderation.dlq.reason"], ours["moderation.dlq.stage"]) == (b"invalid_json", b"decode")


def test_p11_a_dead_letter_keeps_its_producer_s_trace_and_gets_ours_only_where_it_had_none() -> None:
    own = ("traceparent", b"00-" + b"c" * 32 + b"-" + b"d" * 16 + b"-01")
    (kept,) = records_of(Ruling(letter_of(headers=(own,))))
    (given_one,) = records_of(Ruling(letter_of()))

    assert [header for header in kept.headers if header[0] == "traceparent"] == [own]
    assert [header for header in given_one.headers if header[0] == "traceparent"] == SEND_TRACE


def test_p1_a_tombstone_with_a_key_stays_a_tombstone() -> None:
    (record,) = records_of(Ruling(letter_of(value=None)))

    assert (record.key, record.value) == (b"key", None)


def test_p1_a_tombstone_without_a_key_is_written_as_an_empty_value_and_read_back_as_null() -> None:
    # kafka-python refuses a record that has neither.
    (record,) = records_of(Ruling(letter_of(value=None, key=None)))

    assert (record.key, record.value) == (None, b"")
    assert read_dead_letter(as_consumed(record)).value is None


def test_p1_a_header_without_a_value_is_written_as_empty_and_read_back_as_null() -> None:
    headers: Headers = (("a", None), ("b", b""), ("a", b"x"))
    (record,) = records_of(Ruling(letter_of(headers=headers)))

    assert record.headers[:3] == [("a", b""), ("b", b""), ("a", b"x")]
    assert all(isinstance(value, bytes) for _, value in record.headers)
    assert read_dead_letter(as_consumed(record)).headers[:3] == headers


def as_consumed(record: OutputRecord) -> SourceRecord:
    return SourceRecord(record.topic, record.partition or 0, 0, 1, record.key, record.value, tuple(record.headers))


@given(
    key=st.none() | st.binary(max_size=8),
    value=st.none() | st.binary(max_size=30),
    headers=st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=5)), max_size=4).map(tuple),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_p1_whatever_the_record_was_its_dead_letter_gives_it_back(
    key: bytes | None, value: bytes | None, headers: Headers
) -> None:
    letter = letter_of(key=key, value=value, headers=headers)
    (record,) = records_of(Ruling(letter), key=key)
    read = read_dead_letter(as_consumed(record))

    assert record.key is not None or record.value is not None
    assert (read.key, read.value, read.source) == (key, value, letter.source)
    assert read.headers[: len(headers)] == headers


def test_a_verdict_s_value_is_json_that_names_its_event() -> None:
    (record,) = records_of(Ruling(VERDICT_TEXT))

    assert json.loads(record.value or b"")["event_id"] == "e"
