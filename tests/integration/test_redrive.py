"""Dead letters put back on real Kafka: exactly as they were, at most so often, and each asked for once."""

from typing import Any

import pytest
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.admin import NewTopic

from schemas.dead_letter import BROKER, OWN, REDRIVE_COUNT, dead_letter
from schemas.errors import ModerationError, TerminalError
from schemas.reasons import Reason
from schemas.record import Headers, SourceRecord
from tests.guards.scripted_guard import ScriptedGuard
from tests.integration.letter_site import PARTITIONS, LetterSite, foreign, ids, once, order
from tests.site import event, wait_until
from workers.kafka.reader import TopicReader
from workers.stream.dead_letters import without_value
from workers.tools.dead_letters.dead_letters import Filters
from workers.tools.dead_letters.redrive.letters import CONNECT
from workers.tools.dead_letters.redrive.redrive import redrive
from workers.tools.dead_letters.redrive.routes import GONE

# -- exactly as it was -------------------------------------------------------------------------------------------------

ODD: list[tuple[bytes | None, bytes | None, Headers]] = [
    (b"k", b"{", (("h", None), ("h", b"1"), ("h", None), ("", b"nameless"), ("empty", b""))),
    (b"k", b"{", (("raw", b"\xff\x00\xfe"), ("ключ", b"\xd0"), ("traceparent", b"00-a-b-01"))),
    (None, None, ()),
    (None, None, (("h", None),)),
    (b"", None, (("null", b"null"),)),
    (bytes(range(256)), b"\x00", ()),
    (b"k", b"", ()),
    (None, b"null", (("h", b"null"),)),
]


def test_p1_what_a_worker_dead_lettered_comes_back_byte_for_byte(letters: LetterSite) -> None:
    for number, (key, value, headers) in enumerate(ODD):
        letters.write(letters.names[0], value, key, headers, number % PARTITIONS)
    originals = letters.records(0)
    kept = letters.settings_with(events={"nothing_to_judge": "dead_letter"})
    worker = letters.start(ScriptedGuard(), kept)
    letters.wait_for(len(ODD))
    assert worker.stop(20.0)

    report = redrive(letters.settings, order())
    assert (report.put_back, report.left, report.is_complete) == (len(ODD), 0, True)
    back = letters.put_back()
    assert len(back) == len(ODD)
    for partition in range(PARTITIONS):  # to its own partition, in its own order
        was = [(r.key, r.value, r.headers) for r in originals if r.partition == partition]
        now = [(r.key, r.value, r.headers[:-1]) for r in back if r.partition == partition]
        assert now == was
    assert {record.headers[-1] for record in back} == {(REDRIVE_COUNT, b"1")}


def test_p11_a_letter_that_had_no_trace_goes_on_with_the_one_of_its_dead_letter(letters: LetterSite) -> None:
    trace = (("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),)
    source = SourceRecord(letters.names[0], *letters.write(letters.names[0], b"{", b"k"), 0, b"k", b"{", ())
    headers = dead_letter(source, TerminalError(Reason.INVALID_JSON, "x"), group="weir").record_headers
    letters.write(letters.names[2], b"{", b"k", (*headers, *trace))  # as the worker writes one: its span comes last
    redrive(letters.settings, order())
    [back] = letters.put_back()
    assert back.headers == (*trace, (REDRIVE_COUNT, b"1"))


# -- the loop guard ----------------------------------------------------------------------------------------------------


def test_a_letter_that_dies_again_and_again_is_parked_in_the_end(letters: LetterSite) -> None:
    parking = letters.park()
    poison = (("note", None), ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"))
    letters.write(letters.names[0], b"{", b"poison", poison)
    letters.write(letters.names[0], event("good"), b"good")
    worker = letters.start(ScriptedGuard())
    for count in range(1, 4):
        wait_until(lambda count=count: len(letters.records(2)) == count, "the dead letter")  # type: ignore[misc]
        report = redrive(letters.settings, order(max_redrives=3))
        assert (report.put_back, report.parked) == (1, 0)
    wait_until(lambda: len(letters.records(2)) == 4, "the last dead letter")
    assert worker.stop(20.0)
    assert sorted(letter.redrive_count for letter in letters.dead_letters()) == [0, 1, 2, 3]

    report = redrive(letters.settings, order(max_redrives=3))
    assert (report.put_back, report.parked, report.by_target) == (0, 1, {parking: 1})
    assert len(letters.put_back()) == 3
    [parked] = letters.read(parking)
    last = max(letters.records(2), key=lambda record: record.timestamp_ms)
    assert (parked.key, parked.value, parked.headers) == (last.key, last.value, last.headers)
    assert redrive(letters.settings, order(max_redrives=3)).touched == 0

    # From there on only by somebody who says so.
    topics = letters.settings.topics.model_copy(update={"dead_letters": parking})
    there = letters.settings.model_copy(update={"topics": topics})
    again = redrive(there, order(group="other"))
    assert (again.left, again.why_left) == (1, {"put back 3 times, and this is the parking topic": 1})
    assert redrive(there, order(group="another", max_redrives=9)).put_back == 1
    assert letters.put_back()[-1].headers == (*poison, (REDRIVE_COUNT, b"4"))


def test_without_a_parking_topic_the_letter_stays_and_what_stood_before_it_is_put_back(letters: LetterSite) -> None:
    letters.die(0)
    letters.die(0, change=lambda letter: letter.model_copy(update={"redrive_count": 3}))
    for _ in range(2):
        with pytest.raises(ModerationError, match=r"\.parking: does not exist.*weir topics apply"):
            redrive(letters.settings, order())
        assert len(letters.put_back()) == 1
    assert redrive(letters.settings, order(dry_run=True)).parked == 1
    letters.park()
    assert redrive(letters.settings, order()).parked == 1


# -- which letters -----------------------------------------------------------------------------------------------------


def test_selections_neither_hide_letters_from_each_other_nor_put_one_back_twice(letters: LetterSite) -> None:
    for number in range(6):
        letters.die(number, reason=Reason.INFERENCE_FAILED if number % 2 else Reason.TOO_LONG)
    first = redrive(letters.settings, order(filters=Filters(reason=Reason.TOO_LONG)))
    assert (first.put_back, first.skipped) == (3, 3)
    second = redrive(letters.settings, order(filters=Filters(reason=Reason.INFERENCE_FAILED), limit=2))
    assert (second.put_back, second.is_complete) == (2, False)
    assert redrive(letters.settings, order(filters=Filters(reason=Reason.TOO_LONG))).touched == 0
    letters.die(6, reason=Reason.TOO_LONG)
    everything = redrive(letters.settings, order())
    assert (everything.put_back, everything.earlier) == (2, 5)
    assert ids(letters.put_back()) == once(*range(7))
    assert redrive(letters.settings, order(from_start=True)).put_back == 7


def test_filters_by_tenant_time_and_model_revision(letters: LetterSite) -> None:
    letters.die(0, tenant="kids")
    letters.die(1, tenant="games", change=lambda letter: letter.model_copy(update={"model_revision": "r7"}))
    written_ms = [record.timestamp_ms for record in letters.records(2)]

    def asked(**filters: Any) -> int:
        return redrive(letters.settings, order(filters=Filters(**filters), dry_run=True)).put_back

    assert [asked(tenant="kids"), asked(tenant="games"), asked(tenant="none")] == [1, 1, 0]
    assert [asked(model_revision="r7"), asked(model_revision="r8")] == [1, 0]
    assert [asked(since_ms=min(written_ms)), asked(since_ms=max(written_ms) + 1)] == [2, 0]
    assert [asked(until_ms=max(written_ms) + 1), asked(until_ms=min(written_ms))] == [2, 0]
    assert letters.put_back() == []


def test_a_dry_run_counts_and_leaves_no_trace(letters: LetterSite) -> None:
    for number in range(4):
        letters.die(number)
    letters.write(letters.names[2], b"what is this")
    report = redrive(letters.settings, order(dry_run=True))
    assert (report.put_back, report.left, report.is_dry) == (4, 1, True)
    [ours] = [cause for cause in report.by_cause if cause.topic]
    assert (ours.family, ours.reason, ours.stage, ours.topic) == (
        "weir", "inference_failed", "infer", letters.names[0],
    )  # fmt: skip
    assert letters.put_back() == []
    with TopicReader(letters.settings.kafka, letters.group) as reader:
        assert reader.committed(reader.ranges([letters.names[2]])) == {}


def test_offsets_that_another_tool_has_set_are_where_it_begins(letters: LetterSite) -> None:
    for number in (0, 3, 6):  # all in partition 0 of the dead letters
        letters.die(number * PARTITIONS)
    partition = TopicPartition(letters.names[2], 0)
    for metadata, offset, count in (("", 2, 1), ('{"weir": "\u2028not ours"}', 0, 3)):
        tool = KafkaConsumer(
            bootstrap_servers=letters.settings.kafka.bootstrap_servers, group_id=letters.group, enable_auto_commit=False
        )
        tool.assign([partition])
        tool.commit({partition: OffsetAndMetadata(offset, metadata, -1)})
        tool.close()
        assert redrive(letters.settings, order()).put_back == count


# -- letters that are short of something -------------------------------------------------------------------------------


def test_a_value_that_was_dropped_is_fetched_from_its_source_or_reported(letters: LetterSite) -> None:
    headers: Headers = (("h", None), ("traceparent", b"00-a-b-01"))
    there = letters.die(0, change=without_value, headers=headers)
    no_key = letters.die(1, change=lambda letter: without_value(without_value(letter)))
    gone = letters.die(2, change=without_value)
    letters.die(2)  # so that the partition goes on behind what is deleted
    letters.die(3, change=lambda letter: without_value(letter).model_copy(update={"key": b"another record's"}))
    letters.admin.delete_records({TopicPartition(gone.topic, gone.partition): gone.offset + 1})
    dry = redrive(letters.settings, order(dry_run=True))
    report = redrive(letters.settings, order())
    assert (report.put_back, report.left, report.why_left) == (3, 2, {GONE: 2})
    assert (dry.put_back, dry.left) == (3, 2)
    back = {record.key: record for record in letters.put_back()}
    assert (back[there.key].value, back[there.key].headers[:-1]) == (there.value, headers)
    assert back[no_key.key].value == no_key.value
    assert len(letters.records(2)) == 5  # still where they were


def test_letters_of_other_tools_are_put_back_and_unknown_ones_left(letters: LetterSite) -> None:
    events, dead = letters.names[0], letters.names[2]
    written = letters.write(events, b"original", b"k", (("h", b"1"),), 2)
    words = ((CONNECT + "stage", b"VALUE_CONVERTER"), (CONNECT + "exception.class.name", b"org.x.DataException"))
    letters.write(dead, b"v0", b"k0", (("h", None), *foreign(CONNECT, events, (1, 5)), *words))
    letters.write(dead, b"v1", b"k1", (*foreign(BROKER, events, (3, 6)), (BROKER + "delivery.count", b"5")))
    letters.write(dead, None, None, foreign(BROKER, events, written))  # a share group's pointer
    letters.write(dead, b"unknown", b"k3")
    letters.write(dead, b"unknown", b"k4", (("kafka_dlt-original-offset", b"\0" * 8),))
    letters.write(dead, b"broken", b"k5", foreign(CONNECT, events, (-1, 5)))
    letters.write(dead, b"elsewhere", b"k6", foreign(CONNECT, "no.such.topic", (0, 5)))
    letters.write(dead, b"loop", b"k7", foreign(CONNECT, dead, (0, 5)))
    letters.write(dead, b"loop", b"k8", (*foreign(CONNECT, events, (0, 9)), (REDRIVE_COUNT, b"2")))
    letters.write(dead, b"new", b"k9", (*foreign(BROKER, events, (0, 9)), (OWN + "reason", b"of_tomorrow")))
    letters.die(0)

    report = redrive(letters.settings, order())
    assert (report.put_back, report.left) == (5, 6)
    assert sum(report.why_left.values()) == 6
    assert {cause.family: cause.reason for cause in report.by_cause}["connect"] in ("org.x.DataException", "")
    back = {record.key: record for record in letters.put_back()}
    assert (back[b"k0"].value, back[b"k0"].headers, back[b"k0"].partition) == (
        b"v0", (("h", None), (REDRIVE_COUNT, b"1")), 1,
    )  # fmt: skip
    assert (back[b"k1"].value, back[b"k1"].headers) == (b"v1", ((REDRIVE_COUNT, b"1"),))
    assert (back[b"k"].value, back[b"k"].headers) == (b"original", (("h", b"1"), (REDRIVE_COUNT, b"1")))
    assert back[b"k8"].headers == ((REDRIVE_COUNT, b"3"),)
    assert len(letters.records(2)) == 11

    # With a topic to go to, those of a topic that is no more go there; nothing goes twice.
    again = redrive(letters.settings, order(to=events))
    assert (again.put_back, again.earlier) == (2, 5)


def test_what_was_left_is_put_back_once_it_can_be(letters: LetterSite) -> None:
    late = f"events-late-{letters.suffix}"
    for number in range(8):
        letters.die(number)
        headers = foreign(CONNECT, late if number % 2 else letters.names[0], (0, number))
        letters.write(letters.names[2], b"v%d" % number, b"k%d" % number, headers)
    first = redrive(letters.settings, order())
    assert (first.put_back, first.left, first.why_left) == (12, 4, {f"topic {late} does not exist": 4})
    assert redrive(letters.settings, order(filters=Filters(reason=Reason.TOO_LONG))).left == 0
    again = redrive(letters.settings, order(limit=1))
    assert (again.put_back, again.left) == (0, 4)

    letters.create(late)
    assert redrive(letters.settings, order(limit=3)).put_back == 3
    last = redrive(letters.settings, order())
    assert (last.put_back, last.left) == (1, 0)
    assert [record.value for record in letters.read(late)] == [b"v1", b"v3", b"v5", b"v7"]
    assert redrive(letters.settings, order()).touched == 0


def test_a_record_too_large_for_its_destination_is_left_and_its_neighbours_go(letters: LetterSite) -> None:
    small = f"events-small-{letters.suffix}"
    letters.admin.create_topics([NewTopic(small, 2, 1, topic_configs={"max.message.bytes": "1500"})])
    for number in range(12):
        letters.die(number, tenant="x" * 3000 if number in (4, 5) else "kids")
    report = redrive(letters.settings, order(to=small))
    assert (report.put_back, report.left) == (10, 2)
    assert ids(letters.read(small)) == once(*(number for number in range(12) if number not in (4, 5)))
