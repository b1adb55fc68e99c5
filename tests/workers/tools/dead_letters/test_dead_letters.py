"""Looking at dead letters: counted, filtered and found, whoever wrote them."""

import json
from collections.abc import Iterator

import pytest

from schemas.dead_letter import BROKER, OWN
from schemas.errors import ConfigurationError, ModerationError
from schemas.reasons import Reason, Stage
from schemas.record import Headers, SourceRecord
from tests.samples.outcomes import letter_of, written
from workers.demo.broker import EmbeddedBroker
from workers.kafka.producer import producer
from workers.settings.loading import Settings, load_settings
from workers.tools.dead_letters.dead_letters import Filters, find, histogram, read_letter, scan, tenant_of


def source(offset: int, value: bytes | None = b"{", partition: int = 0, topic: str = "chat.events") -> SourceRecord:
    return SourceRecord(topic, partition, offset, 1000, b"k", value, (("x", b"y"),))


def source_headers(number: bytes) -> Headers:
    return tuple((BROKER + name, number) for name in ("topic", "partition", "offset"))


@pytest.mark.parametrize(
    ("value", "tenant"),
    [
        (b'{"tenant": "kids"}', "kids"),
        (b'{"text": "x"}', "default"),
        (b'{"specversion": "1.0", "data": {"tenant": "kids"}}', "kids"),
        (b'{"specversion": "1.0", "data": "x"}', None),
        (b'{"tenant": 3}', None),
        (b"[1]", None),
        (b"not json", None),
        (b"\xff", None),
        (b"[" * 100_000, None),
        (None, None),
    ],
)
def test_the_tenant_is_told_where_it_can_be_read(value: bytes | None, tenant: str | None) -> None:
    assert tenant_of(value) == tenant


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("kafka_dlt-original-offset", b"\x00\x00\x00\x07"),),
        ((BROKER + "topic", b"t"),),
        (*source_headers(b"1"), (OWN + "reason", b"nonsense")),
        (*source_headers(b"-1"), (OWN + "reason", b"invalid_json")),
        ((OWN + "reason", None),),
    ],
)
def test_a_foreign_record_is_no_error_and_its_values_are_not_repeated(headers: Headers) -> None:
    found = read_letter(SourceRecord("dlq", 0, 1, 0, None, b"a secret", headers))
    assert found.letter is None
    assert found.fault.startswith("header ")
    assert "nonsense" not in found.fault


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    """A broker whose dead-letter topic holds 12 letters of three reasons, a copy of one, and two foreign records."""
    topics = load_settings().topics
    with EmbeddedBroker((topics.dead_letters,)) as broker:
        settings = load_settings(
            kafka={"bootstrap_servers": broker.bootstrap_servers, "api_version": broker.api_version}
        )
        sender = producer(settings.kafka)
        reasons = (Reason.INVALID_JSON, Reason.NOT_UTF8, Reason.UNPARSABLE_OUTPUT)
        for number in [*range(12), 7]:
            value = json.dumps({"tenant": f"tenant-{number % 2}"}).encode()
            topic = "chat.events" if number < 8 else "old-events"
            outcome = letter_of(source(number, value, number % 4, topic), reasons[number % 3])
            record = written(outcome, b"k", topics, 4)
            sender.send(record.topic, record.value, record.key, record.headers, partition=record.partition)
        for foreign in (0, 1):
            sender.send(topics.dead_letters, b"foreign", None, [("kafka_dlt-x", b"y")], partition=foreign)
        sender.flush()
        sender.close()
        yield settings


def test_letters_are_counted_by_reason_and_source(settings: Settings) -> None:
    steps: list[tuple[int, int]] = []
    counted = histogram(scan(settings, progress=lambda done, total: steps.append((done, total))))
    assert {reason: tally.count for reason, tally in counted.by_reason.items()} == {
        Reason.INVALID_JSON: 4,
        Reason.NOT_UTF8: 5,
        Reason.UNPARSABLE_OUTPUT: 4,
    }
    assert counted.by_source_topic == {"chat.events": 9, "old-events": 4}
    assert (counted.count, counted.foreign) == (13, 2)
    assert steps[-1] == (15, 15)


@pytest.mark.parametrize(
    ("filters", "offsets"),
    [
        (Filters(reason=Reason.NOT_UTF8), {1, 4, 7, 10}),
        (Filters(stage=Stage.PARSE), {2, 5, 8, 11}),
        (Filters(tenant="tenant-1"), {1, 3, 5, 7, 9, 11}),
        (Filters(reason=Reason.NOT_UTF8, tenant="tenant-0"), {4, 10}),
        (Filters(reason=Reason.NOT_UTF8, stage=Stage.PARSE), set()),
    ],
)
def test_letters_are_filtered(settings: Settings, filters: Filters, offsets: set[int]) -> None:
    found = [item.letter for item in scan(settings, filters)]
    assert {item.source.offset for item in found if item is not None} == offsets
    assert None not in found


def test_a_letter_is_found_by_its_place(settings: Settings) -> None:
    for offset, source_offset in ((0, 3), (2, 11)):
        [found] = find(settings, f"3:{offset}")
        assert found.letter is not None
        assert found.letter.source.offset == source_offset
        assert (found.record.partition, found.record.offset) == (3, offset)


def test_a_source_has_all_its_letters(settings: Settings) -> None:
    assert len(find(settings, "chat.events-3-7")) == 2
    assert len(find(settings, "old-events-1-9")) == 1


@pytest.mark.parametrize("which", ["3:99", "77:0", "chat.events-0-3", "chat.events-3-99"])
def test_an_offset_or_source_without_a_letter_is_said_to_have_none(settings: Settings, which: str) -> None:
    with pytest.raises(ModerationError, match="no such dead letter"):
        find(settings, which)


@pytest.mark.parametrize("which", ["3", "x:y", "3:", "chat.events", "1:2:3", ""])
def test_what_is_neither_an_offset_nor_a_source_is_refused(settings: Settings, which: str) -> None:
    with pytest.raises(ConfigurationError, match="PARTITION:OFFSET"):
        find(settings, which)
