"""Reads fetched bytes as brokers and Java's clients read them, whatever a producer wrote.

kafka-python 3.0.12 reads some bytes differently, and what is judged would not be what others see: it takes a record's
attributes for a number of any length, keeps bits that Java drops, and believes a producer's offsets. It raises at a
header name that is not UTF-8, keeps the reader that has failed, and its poll then spins for ever, deaf to all
partitions. What really cannot be read (a broken checksum, an unknown codec) raises here, with its offset, each time
that it is fetched.
Does not decide what becomes of such a record or partition.
"""

import gzip
import io
from collections.abc import Callable, Iterator
from typing import Any

from kafka import KafkaConsumer, TopicPartition, codec
from kafka.consumer.fetcher import ConsumerRecord, Fetcher
from kafka.errors import RecordListTooLargeError
from kafka.record import MemoryRecords
from kafka.record.default_records import ControlRecord, DefaultRecord, DefaultRecordBatch

from schemas.errors import UnreadableRecordsError
from workers.kafka.header_name import HeaderName

MAX_BATCH_BYTES = 128 * 2**20  # decompressed: a megabyte of gzip makes a thousand, of zstd ten thousand
_GZIP, _LZ4, _ZSTD = 1, 3, 4  # snappy makes twenty times at most
_DECOMPRESS: dict[int, Callable[[memoryview, int], bytes]] = {
    _GZIP: lambda data, most: gzip.GzipFile(fileobj=io.BytesIO(data)).read(most),
    _LZ4: lambda data, most: codec.lz4.LZ4FrameDecompressor().decompress(data, max_length=most),
    _ZSTD: lambda data, most: codec.zstd.ZstdDecompressor().stream_reader(data, read_across_frames=True).read(most),
}
_LAST_OFFSET_DELTA, _FIRST_TIMESTAMP, _MAX_TIMESTAMP, _COUNT = 6, 7, 8, 12  # indices in a batch's header
_INT, _LONG = 5, 10  # bytes of a number at most
_MASK = {_INT: 2**32 - 1, _LONG: 2**64 - 1}


class _Batch(DefaultRecordBatch):
    """A batch in the present format, read as brokers and Java's clients read it."""

    __slots__ = ()  # the library's own hold all, which it does not declare types of: hence `Any`

    def _maybe_uncompress(self: Any) -> None:
        """Decompress within bounds, as the library does not."""
        decompress = _DECOMPRESS.get(self.compression_type)
        if self._decompressed or decompress is None:
            DefaultRecordBatch._maybe_uncompress(self)  # noqa: SLF001
            return
        data = decompress(memoryview(self._buffer)[self._pos :], MAX_BATCH_BYTES + 1)
        if len(data) > MAX_BATCH_BYTES:
            raise RecordListTooLargeError
        self._buffer, self._pos, self._decompressed = bytearray(data), 0, True

    def _read_msg(self: Any) -> DefaultRecord:
        """The next record; its caller has a ValueError or IndexError mean that the batch is damaged."""
        buffer = self._buffer
        length, start = _varint(buffer, self._pos)
        delta, pos = _varint(buffer, start + 1, _LONG)  # behind one byte of attributes
        offset, pos = _varint(buffer, pos)
        key, pos = _bytes(buffer, pos)
        value, pos = _bytes(buffer, pos)
        count, pos = _varint(buffer, pos)
        headers = []
        for _ in range(count):
            name, pos = _bytes(buffer, pos)
            content, pos = _bytes(buffer, pos)
            headers.append((_name(name), content))
        if pos - start != length or pos > len(buffer) or count < 0:
            raise ValueError("the record does not end where it says")
        self._pos = pos
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


def _varint(buffer: bytearray, pos: int, bytes_at_most: int = _INT) -> tuple[int, int]:
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


def _bytes(buffer: bytearray, pos: int) -> tuple[bytes | None, int]:
    """Bytes with their length before them, None where that is negative, and the position after them."""
    length, pos = _varint(buffer, pos)
    return (None, pos) if length < 0 else (bytes(buffer[pos : pos + length]), pos + length)


def _name(name: bytes | None) -> str:
    if name is None:
        raise ValueError("a header without a name")
    try:
        return name.decode()
    except UnicodeDecodeError:
        return HeaderName(name)


class _Batches:
    """The batches of a fetch."""

    def __init__(self, records: MemoryRecords) -> None:
        self._records = records

    def next_batch(self) -> Any:
        batch = self._records.next_batch()
        if type(batch) is DefaultRecordBatch:
            batch.__class__ = _Batch  # of the same layout; making one would copy its bytes
        return batch


class _PartitionRecords(Fetcher.PartitionRecords):
    """The records of a fetch, which is over once it has failed."""

    def _unpack_records(
        self, tp: TopicPartition, records: MemoryRecords, *deserializers: Any
    ) -> Iterator[ConsumerRecord]:
        try:
            yield from super()._unpack_records(tp, _Batches(records), *deserializers)
        except Exception as error:
            self.drain()
            fault = type(error).__name__
            raise UnreadableRecordsError(tp.topic, tp.partition, self.next_fetch_offset, fault) from error


def read_leniently(consumer: KafkaConsumer) -> None:
    """Have a consumer read here.

    Its `poll` raises `UnreadableRecordsError` where a partition's next records cannot be read, and fetches them anew.
    """
    consumer._fetcher.PartitionRecords = _PartitionRecords  # noqa: SLF001
