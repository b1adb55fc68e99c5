"""Records as fetched: any bytes that a broker accepts are read; what cannot be read holds its own partition only."""

import itertools
import struct
import threading
import tracemalloc
from collections.abc import Iterable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from kafka import KafkaProducer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.record import MemoryRecords, MemoryRecordsBuilder
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka.record.util import calc_crc32c, encode_varint

from schemas.cut_value import CutValue
from schemas.errors import BatchTooLargeError, UnreadableRecordsError
from schemas.reasons import Reason, Stage
from schemas.record import Partition
from tests.guards.scripted_guard import ScriptedGuard
from tests.site import Site, event, wait_until
from workers.kafka import decompression, reader
from workers.kafka.connection import group_consumer
from workers.kafka.decoding import HeaderName, _PartitionRecords, read_leniently
from workers.kafka.producer import Producer, producer
from workers.kafka.reader import OffsetRange, TopicReader
from workers.stream import unreadable
from workers.tools.verify.verify import verify

PLACE = TopicPartition("events", 0)
HOSTILE = b"na\xffme\xc3"
NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)


class RawName(str):
    """A name that goes to Kafka as the bytes of its characters; a hostile producer's."""

    __slots__ = ()

    def encode(self, *_: str) -> bytes:
        return super().encode("latin-1")


def raw(name: bytes) -> RawName:
    return RawName(name.decode("latin-1"))


def batch(headers: Iterable[list[tuple[str, bytes | None]]], compression: int = NONE, offset: int = 0) -> bytearray:
    builder = MemoryRecordsBuilder(2, compression, 1 << 24)
    for number, each in enumerate(headers):
        builder.append(1_700_000_000_000, b"key", b"value %d" % number, each)
    builder.close()
    built = bytearray(builder.buffer())
    built[:8] = offset.to_bytes(8, "big")  # not under the checksum: a broker writes it
    return built


def reading(*batches: bytearray) -> _PartitionRecords:
    return _PartitionRecords(0, PLACE, MemoryRecords(b"".join(batches)))


@pytest.mark.parametrize("compression", [NONE, GZIP, SNAPPY, LZ4, ZSTD])
def test_a_record_whose_header_name_is_no_text_is_read_and_so_are_its_neighbours(compression: int) -> None:
    odd = [("first", b"1"), (raw(HOSTILE), b"2"), ("größe", None)]
    records = reading(batch([[("plain", b"")], odd, [], odd], compression))

    read: list[ConsumerRecord] = records.take(10)

    assert [record.offset for record in read] == [0, 1, 2, 3]
    assert read[1].headers == read[3].headers == [("first", b"1"), ("na\\xffme\\xc3", b"2"), ("größe", None)]
    assert [name.encode("utf-8") for name, _ in read[3].headers] == [b"first", HOSTILE, "größe".encode()]
    assert [type(record.value) for record in read] == [bytes] * 4
    assert not records, "read to its end"


@given(names=st.lists(st.binary(max_size=12), max_size=4), value=st.none() | st.binary(max_size=5))
def test_any_name_goes_back_to_kafka_as_the_bytes_that_it_came_as(names: list[bytes], value: bytes | None) -> None:
    (first,) = reading(batch([[(raw(name), value) for name in names]])).take(1)
    (again,) = reading(batch([first.headers])).take(1)

    assert again.headers == first.headers
    assert [name.encode("utf-8") for name, _ in again.headers] == names


def crafted(*records: bytes, first_timestamp: int = 1_700_000_000_000) -> bytearray:
    """A batch as a hostile producer writes it, byte by byte."""
    built = bytearray(DefaultRecordBatchBuilder.HEADER_STRUCT.size) + b"".join(records)
    number = len(records)
    fields = (0, len(built) - 12, 0, 2, 0, 0, number - 1, first_timestamp, first_timestamp, -1, -1, -1, number)
    DefaultRecordBatchBuilder.HEADER_STRUCT.pack_into(built, 0, *fields)
    sound = calc_crc32c(memoryview(built)[DefaultRecordBatchBuilder.ATTRIBUTES_OFFSET :])
    struct.pack_into(">I", built, DefaultRecordBatchBuilder.CRC_OFFSET, sound)
    return built


def varint(number: int) -> bytes:
    written = bytearray()
    encode_varint(number, written.append)
    return bytes(written)


def record(
    value: bytes, *, attributes: bytes = b"\0", delta: bytes = b"\0", offset: int = 0, key: bytes = b"\x01"
) -> bytes:
    body = attributes + delta + varint(offset) + key + varint(len(value)) + value + b"\0"
    return varint(len(body)) + body


OVERFLOWN = b"\x82\x80\x80\x80\x70"  # 1 to Java, which drops the highest bits
HOSTILE_BATCHES = {
    "attributes with their highest bit": (record(b"%0"), record(b"%1", attributes=b"\x80", offset=1, key=b"\x02k")),
    "one offset for all": (record(b"%0"), record(b"%1"), record(b"%2")),
    "offsets backwards": (record(b"%0", offset=2), record(b"%1", offset=1), record(b"%2")),
    "offsets from far ahead and from before": (
        record(b"%0"), record(b"%1", offset=2**30), record(b"%2", offset=-5), record(b"%3", offset=3),
    ),
    "lengths of more bits than they have": (record(b"%0", key=OVERFLOWN + b"k"), record(b"%1", offset=1)),
    "lengths below zero": (record(b"%0", key=varint(-7)), record(b"%1", offset=1)),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_BATCHES)
def test_p1_what_is_judged_is_what_others_read_and_stands_where_the_broker_counts_it(name: str) -> None:
    records = HOSTILE_BATCHES[name]

    read = reading(crafted(*records)).take(10)

    assert [(each.offset, each.value) for each in read] == [(n, b"%%%d" % n) for n in range(len(records))]
    assert {each.timestamp for each in read} == {1_700_000_000_000}
    assert {each.key for each in read} <= {None, b"k"}


@pytest.mark.integration
def test_p6_hostile_batches_that_kafka_takes_are_judged_in_order(
    kafka_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = kafka_site
    worker = site.start(ScriptedGuard())
    writer = KafkaProducer(bootstrap_servers=site.settings.kafka.bootstrap_servers, enable_idempotence=False)
    build, wanted = DefaultRecordBatchBuilder.build, bytearray()
    monkeypatch.setattr(DefaultRecordBatchBuilder, "build", lambda self: bytearray(wanted) or build(self))
    names: list[str] = []

    def write(*batches: bytearray) -> None:
        for each in batches:
            wanted[:] = each
            writer.send(site.names[0], b"replaced", partition=1).get(30)
        wanted.clear()

    def judged(raw_record: bytes) -> bytes:
        """The same record with an event in it: `%` and a digit make room for one."""
        names.append(f"e{len(names)}")
        place = raw_record.index(b"%")
        head, value = raw_record[: place - 1], event(names[-1])
        skip = len(varint(len(raw_record)))
        body = head[skip:] + varint(len(value)) + value + b"\0"
        return varint(len(body)) + body

    for batch_of in HOSTILE_BATCHES.values():
        write(crafted(*[judged(each) for each in batch_of]))
    write(crafted(judged(record(b"%")), first_timestamp=-(2**62)), crafted(judged(record(b"%")), first_timestamp=-1))
    site.wait_for(len(names))

    assert worker.stop(10.0)
    writer.close()
    assert sorted((verdict["source"]["offset"], verdict["event_id"]) for verdict in site.verdicts()) == [
        *enumerate(names)
    ]
    assert site.committed()[1] == len(names)


def test_what_cannot_be_read_is_raised_once_with_its_place_behind_all_that_could() -> None:
    broken = batch([[], []], offset=2)
    broken[-1] ^= 1
    records = reading(batch([[], []]), broken, batch([[]], offset=4))

    assert [record.offset for record in records.take(10)] == [0, 1]
    assert not records, "kafka-python's poll turns for ever in one that is not over"
    with pytest.raises(UnreadableRecordsError, match=r"events-0 .* offset 0 on: CorruptRecordError") as raised:
        reading(broken).take(10)
    assert (raised.value.topic, raised.value.partition) == PLACE


@pytest.mark.parametrize("compression", [GZIP, LZ4, ZSTD])
def test_p9_a_batch_that_swells_without_measure_is_not_decompressed(
    compression: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    swollen = batch([[("zeros", b"0" * 5_000_000)], []], compression)
    assert len(swollen) < 50_000
    cut, small = reading(swollen).take(2)
    assert (cut.value, cut.headers, small.value) == (b"", [], b"value 1")

    monkeypatch.setattr(decompression, "MAX_BATCH_BYTES", 500_000)
    tracemalloc.start()
    with pytest.raises(UnreadableRecordsError, match="BatchTooLargeError"):
        reading(swollen).take(1)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2_000_000


@pytest.mark.parametrize("compression", [NONE, GZIP, SNAPPY, LZ4, ZSTD])
def test_p9_a_record_that_would_cost_too_much_is_cut_while_it_is_read_and_its_neighbours_are_not(
    compression: int,
) -> None:
    builder = MemoryRecordsBuilder(2, compression, 1 << 26)
    for value, headers in (
        (b"small", [("h", b"1")]),
        (b"x" * 2_000_000, [("h", b"1")]),
        (b"exactly".ljust(2**20), []),
        (b"x" * 9_000_000, []),
        (b"as many", [("h", None)] * 1_024),
        (b"too many", [("h", None)] * 1_025),
        (b"after", []),
    ):
        builder.append(1_700_000_000_000, b"key", value, headers)
    builder.close()

    read = reading(bytearray(builder.buffer())).take(10)

    assert [record.offset for record in read] == list(range(7))
    assert [record.value.detail if isinstance(record.value, CutValue) else record.value.strip() for record in read] == [
        b"small",
        "value: 2000000 bytes, limits.max_event_bytes is 1048576",
        b"exactly",
        "record: 9000012 bytes",
        b"as many",
        "headers: more than 1024",
        b"after",
    ]
    assert [len(record.headers) for record in read] == [1, 0, 0, 0, 1_024, 0, 0]
    assert [record.key for record in read] == [b"key"] * 3 + [None] + [b"key"] * 3


def test_p9_what_a_batch_holds_while_it_is_read_is_bounded_and_not_its_size() -> None:
    records = reading(batch([[("zeros", b"0" * 500_000)]] * 30, ZSTD))
    tracemalloc.start()

    assert all(len(records.take(1)) == 1 for _ in range(30))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert most < 3_000_000, "of 15 MB"


def test_p6_a_frame_with_a_wide_window_is_read_if_it_is_not_long() -> None:
    compressor = zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(window_log=27))

    def read(size: int) -> int:
        stream = compressor.compressobj()
        data = memoryview(stream.compress(b"0" * size) + stream.flush())
        return len(decompression.SWELLING[ZSTD](data)[0 : size + 1])

    assert read(15 * 2**20) == 15 * 2**20
    with pytest.raises(BatchTooLargeError):
        read(17 * 2**20)


def test_p9_a_poll_takes_what_its_budget_holds_and_goes_on_from_there(site: Site) -> None:
    site.produce([event(f"e{number}", "x" * 100_000) for number in range(40)])
    consumer = group_consumer(site.settings.kafka)
    fetcher = read_leniently(consumer, 2**20)
    consumer.assign([TopicPartition(site.names[0], number) for number in range(4)])
    polls: list[int] = []

    def all_polled(budget: int = 150_000) -> bool:
        fetcher.poll_bytes = budget
        polls.append(sum(map(len, consumer.poll(100).values())))
        return sum(polls) >= 40

    wait_until(all_polled, "all records")
    consumer.close()
    assert sum(polls) == 40
    assert max(polls) == 2, "one more than fits"


def test_p6_a_header_name_that_is_no_text_harms_nobody_and_goes_into_the_dead_letter_as_it_came(site: Site) -> None:
    worker = site.start(ScriptedGuard())

    site.produce(
        [b"\xff" if number % 10 == 3 else event(f"e{number}") for number in range(40)],
        lambda number: [(raw(HOSTILE), b"kept"), ("also", b"")] if number % 10 in (3, 4) else [],
    )
    site.wait_for(40)

    assert worker.stop(10.0)
    assert {verdict["event_id"] for verdict in site.verdicts()} == {f"e{n}" for n in range(40) if n % 10 != 3}
    letters = site.dead_letters()
    assert [(letter.reason, letter.stage) for letter in letters] == [(Reason.NOT_UTF8, Stage.DECODE)] * 4
    for letter in letters:
        assert letter.headers == (("na\\xffme\\xc3", b"kept"), ("also", b""))
        assert isinstance(letter.headers[0][0], HeaderName)
        assert letter.headers[0][0].raw == HOSTILE
    assert sum(site.committed().values()) == 40


def test_p12_a_partition_that_cannot_be_read_is_held_and_named_while_all_others_go_on(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = threading.Event()
    damaged.set()
    validate = DefaultRecordBatch.validate_crc
    monkeypatch.setattr(
        DefaultRecordBatch,
        "validate_crc",
        lambda self: not (damaged.is_set() and b"damaged" in self._buffer) and validate(self),
    )
    monkeypatch.setattr(unreadable, "READ_AGAIN_S", 0.1)
    worker = site.start(ScriptedGuard(), site.settings_with(health={"progress_timeout_s": 1.0}))
    sender = producer(site.settings.kafka)

    def send(number: int, partition: int) -> None:
        sender.send(site.names[0], event(f"e{number}"), b"damaged" if number == 9 else b"key", partition=partition)
        sender.flush()  # a batch of its own

    for number in range(3):
        send(number, partition=2)
    send(9, partition=2)
    send(10, partition=2)
    for number in range(20, 40):
        send(number, partition=number % 2)

    wait_until(lambda: worker.progress.completed == 23, "all but what is at the damaged place and behind it")
    wait_until(lambda: site.committed().get(2) == 3, "a commit up to the damaged place")
    assert worker.stuck_reason() is None, "another worker could not read it either"
    for number in range(40, 50):
        send(number, partition=number % 2)
    site.wait_for(33)

    damaged.clear()
    site.wait_for(35)
    assert worker.stop(10.0)
    sender.close()
    assert len({verdict["event_id"] for verdict in site.verdicts()}) == len(site.verdicts()) == 35


@pytest.mark.parametrize("how", ["after a time", "by a person"])
def test_p1_a_batch_that_stays_unreadable_ends_as_dead_letters_and_its_partition_goes_on(
    site: Site, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    validate = DefaultRecordBatch.validate_crc
    monkeypatch.setattr(
        DefaultRecordBatch, "validate_crc", lambda self: b"damaged" not in self._buffer and validate(self)
    )
    monkeypatch.setattr(unreadable, "READ_AGAIN_S", 0.1)
    limits = {"unreadable_after_s": 0.5 if how == "after a time" else None, "in_flight_records": 8}
    settings = site.settings_with(limits=limits, kafka={"max_poll_records": 4})
    sender = Producer(site.settings.kafka, linger_ms=200)
    place = Partition(site.names[0], 2)
    for numbers, key in ((range(2), b"key"), (range(2, 12), b"damaged"), (range(12, 15), b"key")):
        for number in numbers:
            sender.send(place.topic, event(f"e{number}"), key, partition=place.number)
        sender.flush()  # a batch of their own
    sender.close()

    worker = site.start(ScriptedGuard(), settings)
    if how == "by a person":
        wait_until(lambda: worker.give_up(place) is not None, "the batch to be found")
        assert worker.give_up(Partition(place.topic, 1)) is None
    site.wait_for(15)
    assert worker.stop(10.0)

    assert {verdict["event_id"] for verdict in site.verdicts()} == {f"e{n}" for n in (0, 1, 12, 13, 14)}
    letters = site.dead_letters()
    assert sorted(letter.source.offset for letter in letters) == list(range(2, 12))
    assert {(letter.reason, letter.detail, letter.value_dropped) for letter in letters} == {
        ("unreadable_batch", "batch: CorruptRecordError", True)
    }
    assert site.committed()[2] == 15
    assert verify(site.settings).is_proven


@pytest.mark.parametrize("healed", [True, False])
def test_a_command_passes_over_a_batch_only_after_it_has_tried_again(
    site: Site, monkeypatch: pytest.MonkeyPatch, *, healed: bool
) -> None:
    validate, tries = DefaultRecordBatch.validate_crc, itertools.count(1)
    monkeypatch.setattr(
        DefaultRecordBatch,
        "validate_crc",
        lambda self: validate(self) and (b"damaged" not in self._buffer or (healed and next(tries) == reader.READS)),
    )
    monkeypatch.setattr(reader, "READ_AGAIN_S", 0.05)
    sender = producer(site.settings.kafka)
    for key in (b"key", b"damaged", b"key"):
        sender.send(site.names[0], event("e1"), key, partition=0)
        sender.flush()  # a batch of its own
    sender.close()

    with TopicReader(site.settings.kafka) as topics:
        found = list(topics.read({Partition(site.names[0], 0): OffsetRange(0, 3)}))

    assert [record.offset for record in found] == [0, 1, 2]
    assert [type(record.value) is bytes for record in found] == [True, healed, True]
