"""Decompresses batches piece by piece, so that memory is bounded by what is looked at and not by what is there.

A megabyte of gzip makes a thousand, of zstd ten thousand. A batch that makes more than `MAX_BATCH_BYTES` is refused
where it exceeds them. Knows nothing of what the bytes mean.
"""

import gzip
import io
from collections.abc import Callable
from typing import Protocol, overload

import lz4.frame  # type: ignore[import-untyped]
import zstandard

from schemas.errors import BatchTooLargeError

MAX_BATCH_BYTES = 128 * 2**20  # a tenth of a second
_GZIP, _LZ4, _ZSTD = 1, 3, 4  # snappy makes twenty times at most
_WINDOW_BYTES = 8 * 2**20  # of zstd below level 20, and what every reader has to take (RFC 8878)
_WIDEST_WINDOW_BYTES = 2**27  # as Java's and all other readers
_WIDE_BATCH_BYTES = 16 * 2**20
_PIECE = 2**18
_BACK = 32  # bytes before a record's key


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Decompressed:
    """The bytes of a compressed batch, which are decompressed as they are asked for; only the last ones are held.

    Args:
        stream: what decompresses.
        most: bytes that it may have.

    Raises:
        BatchTooLargeError: from all methods; it has more.
    """

    def __init__(self, stream: _Readable, most: int) -> None:
        self._stream = stream
        self._most = most
        self._held = b""
        self._start = 0  # of what is held
        self._has_ended = False

    def __len__(self) -> int:
        """All bytes; that is known at the end only, and until then at least one byte more than was asked for."""
        return self._reach(self._start + len(self._held) + 1)

    @overload
    def __getitem__(self, which: int) -> int: ...

    @overload
    def __getitem__(self, which: slice) -> bytes: ...

    def __getitem__(self, which: int | slice) -> int | bytes:
        """A byte, or some; nothing before what was asked for last can be had again, a record's length apart."""
        first = which if isinstance(which, int) else which.start
        end = which + 1 if isinstance(which, int) else which.stop
        if end > self._start + len(self._held):
            self._forget(first)
            self._reach(end)
        if first < self._start:
            raise IndexError("bytes that are held no more")
        if isinstance(which, int):
            return self._held[which - self._start]
        return self._held[first - self._start : end - self._start]

    def _forget(self, before: int) -> None:
        """Hold nothing before a place, which may be ahead."""
        while before > (known := self._start + len(self._held)) and not self._has_ended:
            self._start, self._held = known, b""
            self._reach(min(before, known + _PIECE))
        keep = max(0, before - self._start - _BACK)
        self._start, self._held = self._start + keep, self._held[keep:]

    def _reach(self, end: int) -> int:
        """Have what there is up to a place; returns where all that is known ends."""
        missing = end - self._start - len(self._held)
        while missing > 0 and not self._has_ended:
            more = self._stream.read(max(missing, _PIECE))
            self._has_ended = not more
            self._held += more
            missing -= len(more)
            if self._start + len(self._held) > self._most:
                raise BatchTooLargeError
        return self._start + len(self._held)


def _gzip(data: memoryview) -> Decompressed:
    return Decompressed(gzip.GzipFile(fileobj=io.BytesIO(data)), MAX_BATCH_BYTES)


def _lz4(data: memoryview) -> Decompressed:
    return Decompressed(lz4.frame.LZ4FrameFile(io.BytesIO(data)), MAX_BATCH_BYTES)


def _zstd(data: memoryview) -> Decompressed:
    """A frame with a wide window needs as much memory as it has read, and may have less of it."""
    is_wide = zstandard.get_frame_parameters(data).window_size > _WINDOW_BYTES
    decompressor = zstandard.ZstdDecompressor(max_window_size=_WIDEST_WINDOW_BYTES)
    stream = decompressor.stream_reader(data, read_across_frames=True)
    return Decompressed(stream, min(_WIDE_BATCH_BYTES, MAX_BATCH_BYTES) if is_wide else MAX_BATCH_BYTES)


# By Kafka's numbers.
SWELLING: dict[int, Callable[[memoryview], Decompressed]] = {_GZIP: _gzip, _LZ4: _lz4, _ZSTD: _zstd}
