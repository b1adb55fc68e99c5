"""Reads fetched bytes as brokers and Java's clients read them, whatever a producer wrote.

kafka-python 3.0.12 reads some bytes differently, and what is judged would not be what others see: it takes a record's
attributes for a number of any length, keeps bits that Java drops, and believes a producer's offsets. It raises at a
header name that is not UTF-8, keeps the reader that has failed, and its poll then spins for ever, deaf to all
partitions. What really cannot be read (a broken checksum, an unknown codec) raises here, with its offset, each time
that it is fetched. What would cost too much to hold is cut while it is read.
Does not decide what becomes of such a record or partition.
"""

from collections.abc import Iterator
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord, Fetcher
from kafka.record import MemoryRecords
from kafka.record.default_records import ControlRecord, DefaultRecord, DefaultRecordBatch

from pipelines.in_flight import LIMIT, MOST_HEADERS, bytes_of
from schemas.cut_value import CutValue
from workers.kafka.decompression import SWELLING, Decompressed
from workers.kafka.header_name import HeaderName
from workers.kafka.unreadable_batch import unreadable

MOST_BESIDE = 2 * 2**20  # bytes of key and headers; of a record with more, nothing is held for a moment
_LAST_OFFSET_DELTA, _FIRST_TIMESTAMP, _MAX_TIMESTAMP, _COUNT = 6, 7, 8, 12  # indices in a batch's header
_INT, _LONG = 5, 10  # bytes of a number at most
_MASK = {_INT: 2**32 - 1, _LONG: 2**64 - 1}
_Buffer = bytes | Decompressed


class _Batch(DefaultRecordBatch):
    """A batch in the present format, read as brokers and Java's clients read it; values above `most` bytes are cut."""

    __slots__ = ()  # the library's own hold all, which it does not declare types of: hence `Any`
    most = 2**20

    def _maybe_uncompress(self: Any) -> None:
        """Decompress as it is read, and within bounds, as the library does not."""
        if self._decompressed or self.compression_type not in SWELLING:
            DefaultRecordBatch._maybe_uncompress(self)  # noqa: SLF001
            return
        self._buffer = SWELLING[self.compression_type](memoryview(self._buffer)[self._pos :])
        self._pos, self._decompressed = 0, True

    def _read_msg(self: Any) -> DefaultRecord:
        """The next record; its caller has a ValueError or IndexError mean that the batch is damaged."""
        buffer = self._buffer
        length, start = _varint(buffer, self._pos)
        end = start + length
        delta, pos = _varint(buffer, start + 1, _LONG)  # behind one byte of attributes
        offset, pos = _varint(buffer, pos)
        key: bytes | None = None
        value: bytes | None = None
        headers: list[tuple[str, bytes | None]] | None = []
        if length > self.most + MOST_BESIDE:
            value = CutValue(f"record: {length} bytes")
        else:
            key, pos = _bytes(buffer, pos, end)
            value, pos = _bytes(buffer, pos, end)
            headers, pos = _headers(buffer, pos, end)
            if pos > end or (pos < end and headers is not None):
                raise ValueError("the record does not end where it says")
            if headers is None:
                value, headers = CutValue(f"headers: more than {MOST_HEADERS}"), []
            elif value is not None and len(value) > self.most:
                value, headers = CutValue(f"value: {len(value)} bytes, limits.max_event_bytes is {self.most}"), []
        buffer[end - 1]  # or it ends behind its batch
        self._pos = end
        fields = self._header_data
        last = fields[_LAST_OFFSET_DELTA]
        if fields[_COUNT] == last + 1:
            offset = self._next_record_index  # brokers count, and do not look at what a producer says
        elif not 0 <= offset <= last:
            raise ValueError("an offset outside of its batch")
        kind = self.timestamp_type
        timestamp = fields[_MAX_TIMESTAMP] if kind == self.LOG_APPEND_TIME else fields[_FIRST_TIMESTAMP] + delta
        record = ControlRecord if self.is_control_batch else DefaultRecord
        return record(length, fields[0] + offset, timestamp, kind, key, value, headers)


def _varint(buffer: _Buffer, pos: int, bytes_at_most: int = _INT) -> tuple[int, int]:
    """A zigzag number and the position after it; bits above its size are dropped, as Java drops them."""
    byte = buffer[pos]
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), pos + 1
    number, start = byte & 0x7F, pos
    while byte >= 0x80:
        pos += 1
        if pos - start == bytes_at_most:
            raise ValueError("a number that is too long")
        byte = buffer[pos]
        number |= (byte & 0x7F) << 7 * (pos - start)
    number &= _MASK[bytes_at_most]
    return (number >> 1) ^ -(number & 1), pos + 1


def _bytes(buffer: _Buffer, pos: int, end: int) -> tuple[bytes | None, int]:
    """Bytes with their length before them, None where that is negative, and the position after them."""
    length, pos = _varint(buffer, pos)
    if pos + length > end:
        raise ValueError("bytes behind their record")
    return (None, pos) if length < 0 else (bytes(buffer[pos : pos + length]), pos + length)


def _headers(buffer: _Buffer, pos: int, end: int) -> tuple[list[tuple[str, bytes | None]] | None, int]:
    """Headers, None where they are too many, and the position after them."""
    count, pos = _varint(buffer, pos)
    if count < 0:
        raise ValueError("fewer headers than none")
    if count > MOST_HEADERS:
        return None, pos
    headers = []
    for _ in range(count):
        name, pos = _bytes(buffer, pos, end)
        content, pos = _bytes(buffer, pos, end)
        headers.append((_name(name), content))
    return headers, pos


def _name(name: bytes | None) -> str:
    if name is None:
        raise ValueError("a header without a name")
    try:
        return name.decode()
    except UnicodeDecodeError:
        return HeaderName(name)


class _Batches:
    """The batches of a fetch."""

    def __init__(self, records: MemoryRecords, kind: type[_Batch]) -> None:
        self._records = records
        self._kind = kind
        self.last: Any = None

    def next_batch(self) -> Any:
        self.last = batch = self._records.next_batch()
        if type(batch) is DefaultRecordBatch:
            batch.__class__ = self._kind  # of the same layout; making one would copy its bytes
        return batch


class _PartitionRecords(Fetcher.PartitionRecords):
    """The records of a fetch, which is over once it has failed."""

    kind = _Batch

    def _unpack_records(
        self, tp: TopicPartition, records: MemoryRecords, *deserializers: Any
    ) -> Iterator[ConsumerRecord]:
        batches = _Batches(records, self.kind)
        try:
            yield from super()._unpack_records(tp, batches, *deserializers)
        except Exception as error:
            self.drain()
            raise unreadable(tp, self.next_fetch_offset, error, batches.last) from error


class BoundedFetcher(Fetcher):
    """Gives each poll `poll_bytes`, as `bytes_of` counts them, and one record at least."""

    most: int
    poll_bytes: int

    def fetch_records(self, *args: Any, **more: Any) -> Any:
        """What a poll waits for."""
        self.left_bytes = self.poll_bytes
        return super().fetch_records(*args, **more)

    def _append(self, drained: Any, part: Any, max_records: int, update_offsets: bool) -> int:
        """Take what fits however large it is; the caller asks again until it has `max_records`."""
        fitting = max(1, self.left_bytes // (self.most + MOST_BESIDE))
        taken: int = super()._append(drained, part, min(max_records, fitting), update_offsets)
        if taken:
            self.left_bytes -= sum(map(bytes_of, drained[part.topic_partition][-taken:]))
        return taken if self.left_bytes > 0 else max_records


def read_leniently(consumer: KafkaConsumer, most: int) -> BoundedFetcher:
    """Have a consumer read here, and cut values above `most` bytes.

    Its `poll` raises `UnreadableRecordsError` where a partition's next records cannot be read, and fetches them anew.
    """
    fetcher = consumer._fetcher  # noqa: SLF001
    fetcher.__class__ = BoundedFetcher
    fetcher.most, fetcher.poll_bytes = most, LIMIT.bytes
    kind = type("Batch", (_Batch,), {"__slots__": (), "most": most})
    fetcher.PartitionRecords = type("PartitionRecords", (_PartitionRecords,), {"kind": kind})
    return fetcher  # type: ignore[no-any-return]
