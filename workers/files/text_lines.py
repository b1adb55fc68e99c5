"""Opens text files: decompressed, as UTF-8, in lines of bounded size.

Knows nothing of rows.
"""

import bz2
import codecs
import gzip
import io
import lzma
from collections import deque
from collections.abc import Sequence
from typing import Any

from workers.files.row_values import LARGEST_ROW_BYTES

BOM = codecs.BOM_UTF8
_BUFFER_BYTES = 2**20
_WINDOW_BYTES = 2**31  # the largest that zstd writes: --ultra --long=31
_PACKED_BYTES = 2**10  # of zstd at a time: they may stand for 32,768 times as many
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SPACED = {"utf-16-le": slice(1, 4, 2), "utf-16-be": slice(0, 4, 2)}  # where ASCII has its zeros
_UTF_32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)


def decompressed(raw: Any, compression: str | None) -> Any:
    """The content of a compressed file: all members and frames of it.

    Raises:
        OSError, EOFError, ValueError: from reads, where it is damaged or cut short.
    """
    if compression == "gzip":
        return gzip.GzipFile(fileobj=raw)
    if compression == "bz2":
        return bz2.BZ2File(raw)
    if compression == "xz":
        return lzma.LZMAFile(raw)
    return io.BufferedReader(_Zstandard(raw), _BUFFER_BYTES) if compression == "zstd" else raw


def encoding_of(start: bytes) -> str:
    """The encoding that a file's first four bytes mark or look like; else UTF-8."""
    if start.startswith(_UTF_32):
        return "utf-32"
    if start.startswith(_UTF_16):
        return "utf-16"
    is_wide = start.count(0) == 2
    return next((name for name, zeros in _SPACED.items() if is_wide and start[zeros] == b"\0\0"), "utf-8")


def is_utf8(encoding: str) -> bool:
    """Whether text in it is read as it is.

    Raises:
        LookupError: there is no such encoding.
    """
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")


def text_of(raw: Any, compression: str | None, encoding: str) -> io.BufferedReader:
    """A file's text in UTF-8. Only where it is neither compressed nor in another encoding can it be sought in."""
    content = decompressed(raw, compression)
    if not is_utf8(encoding):
        content = _Transcoded(content, encoding)
    return io.BufferedReader(content, _BUFFER_BYTES)


class _Unpacked(io.RawIOBase):
    """Bytes that are made piece by piece."""

    def __init__(self) -> None:
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            piece = self._piece()
            if piece is None:
                return 0
            self._ready = memoryview(piece)
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _piece(self) -> bytes | None:
        raise NotImplementedError


class _Zstandard(_Unpacked):
    def __init__(self, raw: Any) -> None:
        super().__init__()
        import zstandard  # not needed by who has no such file

        self._raw = io.BufferedReader(raw) if isinstance(raw, io.RawIOBase) else raw
        self._context = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES)
        self._error = zstandard.ZstdError
        self._frame: Any = None
        self._rest = b""

    def _piece(self) -> bytes | None:
        packed = self._rest or self._raw.read(_PACKED_BYTES)
        self._rest = b""
        if not packed:
            if self._frame is not None:
                raise EOFError("the last frame is not whole")
            return None
        if self._frame is None:
            self._frame = self._context.decompressobj()
        try:
            piece: bytes = self._frame.decompress(packed)
        except self._error as error:
            raise OSError(str(error)) from None
        if self._frame.eof:
            self._rest, self._frame = self._frame.unused_data, None
        return piece


class _Transcoded(_Unpacked):
    """Text in UTF-8. Halves of characters stay halves, and bytes that mean nothing stay: they are one row's fault."""

    def __init__(self, content: Any, encoding: str) -> None:
        super().__init__()
        self._content = content
        is_wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
        self._errors = "surrogatepass" if is_wide else "surrogateescape"
        self._decoder = codecs.getincrementaldecoder(encoding)(self._errors)
        self._ended = False

    def _piece(self) -> bytes | None:
        if self._ended:
            return None
        read = self._content.read(_BUFFER_BYTES)
        self._ended = not read
        return self._decoder.decode(read, final=self._ended).encode("utf-8", self._errors)


class Lines:
    """Lines with their ends, of which some may be taken back.

    Of a line above `LARGEST_ROW_BYTES` one byte more than these comes, and the rest is passed by.

    Args:
        stream: to read.
        byte: where it is to begin.
        number: of the lines before.

    Attributes:
        byte: where the next line begins.
        number: of the lines that were read.
    """

    def __init__(self, stream: io.BufferedReader, byte: int = 0, number: int = 0) -> None:
        self._stream = stream
        self._back: deque[tuple[bytes, int]] = deque()
        self.byte = self.number = 0
        if byte:
            self.seek(byte, number)

    def seek(self, byte: int, number: int) -> None:
        """Go on at a line's beginning."""
        self._stream.seek(byte)
        self._back.clear()
        self.byte, self.number = byte, number

    def read(self) -> tuple[bytes, int]:
        """The next line and its size, which is larger where the line was cut; empty at the end."""
        if self._back:
            line, size = self._back.popleft()
        else:
            line = self._stream.readline(LARGEST_ROW_BYTES + 1)
            size = len(line)
            if size > LARGEST_ROW_BYTES:
                last = line
                while last and not last.endswith(b"\n"):
                    last = self._stream.readline(_BUFFER_BYTES)
                    size += len(last)
        self.byte += size
        self.number += bool(size)
        return line, size

    def take_back(self, lines: Sequence[tuple[bytes, int]]) -> None:
        """Let lines come again, which were read last."""
        self._back.extendleft(reversed(lines))
        self.byte -= sum(size for _, size in lines)
        self.number -= len(lines)
