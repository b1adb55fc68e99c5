"""Rows of a JSON document, read one after another: a list of objects, or objects that hold such lists.

A document is cut into its rows without being parsed, so that no more of it than a row is in memory, and each row is
parsed by itself: one that cannot be read costs no other.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic_core import from_json

from schemas.errors import FileFormError
from schemas.reasons import Reason
from workers.files.row_values import LARGEST_ROW_BYTES, ColumnNames, Malformed, Row, getter_of, object_of
from workers.files.text_lines import BOM

RowsIn = Literal["list", "member", "members", "document"]
"""Where a document's rows are: its elements, those of one member or of all members, or itself as the only one."""
_CHUNK_BYTES = 2**20
_SPACE = re.compile(rb"[ \t\r\n]*+")
_LITERAL = re.compile(rb'[^ \t\r\n,:"{}\[\]]*+')
_STRING = rb'[^"\\]*+(?:\\.[^"\\]*+)*+"'
_STRING_REST = re.compile(_STRING, re.DOTALL)
_TO_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|"' + _STRING + rb")*+", re.DOTALL)
_NO_JSON = "not the JSON that it began as"


class DocumentText:
    """A document's bytes, read forwards.

    Args:
        stream: to read.
        byte: where to begin.
    """

    def __init__(self, stream: io.BufferedReader, byte: int = 0) -> None:
        self._stream = stream
        if byte:
            stream.seek(byte)
        self._held, self._at, self._before = b"", 0, byte
        if not byte and self._fill() and self._held.startswith(BOM):
            self._at = len(BOM)

    @property
    def byte(self) -> int:
        """Where it stands."""
        return self._before + self._at

    def peek(self) -> bytes:
        """The next byte that is no space, at which it then stands; empty at the end."""
        while True:
            match = _SPACE.match(self._held, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._held) or not self._fill():
                return self._held[self._at : self._at + 1]

    def take(self, expected: bytes) -> None:
        """Pass by one byte.

        Raises:
            FileFormError: another one comes.
        """
        if self.peek() != expected:
            raise FileFormError(_NO_JSON)
        self._at += 1

    def takes(self, expected: bytes) -> bool:
        """Pass by one byte if it is the next."""
        if self.peek() != expected:
            return False
        self._at += 1
        return True

    def value(self, largest: int = LARGEST_ROW_BYTES) -> tuple[bytes, int]:
        """The text of the next value and its size; of a larger one than `largest`, its beginning.

        Raises:
            ValueError: it is no JSON, or none comes; FileFormError where it does not end.
        """
        kept = bytearray()
        before = self.peek()
        start = self.byte
        for piece in self._pieces(before):
            if len(kept) <= largest:
                kept += piece
        return bytes(kept), self.byte - start

    def key(self) -> str:
        """The next member's name, with its colon."""
        if self.peek() != b'"':
            raise FileFormError(_NO_JSON)
        name = str(from_json(self.value()[0]))
        self.take(b":")
        return name

    def _pieces(self, first: bytes) -> Iterator[bytes]:
        if first == b'"':
            yield self._pass(1)
            yield from self._string()
        elif first in (b"{", b"["):
            yield from self._nested()
        else:
            yield from self._literal(first)

    def _literal(self, first: bytes) -> Iterator[bytes]:
        if not first or first in b",:}]":
            raise FileFormError(_NO_JSON)
        while True:
            match = _LITERAL.match(self._held, self._at)
            yield self._pass(match.end() - self._at if match else 0)
            if self._at < len(self._held) or not self._fill():
                return

    def _string(self) -> Iterator[bytes]:
        """The rest of a string."""
        while (match := _STRING_REST.match(self._held, self._at)) is None:
            rest = self._held[self._at :]
            escaping = (len(rest) - len(rest.rstrip(b"\\"))) % 2
            yield self._pass(len(rest) - escaping)
            if not self._fill():
                raise FileFormError(_NO_JSON)
        yield self._pass(match.end() - self._at)

    def _nested(self) -> Iterator[bytes]:
        depth = 0
        scanned = self._at
        while True:
            match = _TO_BRACKET.match(self._held, scanned)
            scanned = match.end() if match else scanned
            if scanned == len(self._held):
                yield self._pass(scanned - self._at)
                if not self._fill():
                    raise FileFormError(_NO_JSON)
                scanned = self._at
                continue
            found = self._held[scanned]
            scanned += 1
            if found == 0x22:  # a string that goes on behind what is held
                yield self._pass(scanned - self._at)
                yield from self._string()
                scanned = self._at
                continue
            depth += 1 if found in b"{[" else -1
            if not depth:
                yield self._pass(scanned - self._at)
                return

    def _pass(self, size: int) -> bytes:
        piece = self._held[self._at : self._at + size]
        self._at += size
        return piece

    def _fill(self) -> bool:
        """Read on; what was passed by is let go."""
        more = self._stream.read(_CHUNK_BYTES)
        self._before += self._at
        self._held, self._at = self._held[self._at :] + more, 0
        return bool(more)


def rows_in(stream: io.BufferedReader, rows_at: str | None) -> RowsIn:
    """Where a document's rows are; of an object, reads as much as it takes to know.

    Args:
        stream: its text.
        rows_at: the member that holds the rows, if it is a list.

    Raises:
        ValueError: it is no JSON.
    """
    text = DocumentText(stream)
    if text.peek() != b"{":
        return "list" if text.peek() == b"[" else "document"
    text.take(b"{")
    only_rows, count = True, 0
    while not text.takes(b"}"):
        if count:
            text.take(b",")
        count += 1
        name = text.key()
        if name == rows_at and text.peek() == b"[":
            return "member"
        # A list is not rows where it is a column, as a chat's `messages` by themselves would be.
        only_rows = only_rows and name != "messages" and text.peek() == b"["
        if only_rows:
            only_rows = _holds_objects(text)
        else:
            text.value(0)
        if not only_rows and rows_at is None:
            return "document"
    return "members" if only_rows and count else "document"


def _holds_objects(text: DocumentText) -> bool:
    """Whether all elements of the next value, a list, are objects."""
    text.take(b"[")
    found, count = True, 0
    while not text.takes(b"]"):
        if count:
            text.take(b",")
        count += 1
        found = found and text.peek() == b"{"
        text.value(0)
    return found


class DocumentCursor:
    """A JSON document.

    Args:
        stream: its text.
        wanted: columns of the rows; None: their columns are noted.
        constants: values of columns that the rows do not have.
        row: the row that comes next.
        where: its rows are.
        rows_at: the member that holds them.
        mark: byte of the next row, and its number; None: the first row.

    Raises:
        ValueError: from all methods, too: it is no JSON.
    """

    doubled: tuple[str, ...] = ()

    def __init__(
        self,
        stream: io.BufferedReader,
        wanted: Sequence[str] | None,
        constants: Mapping[str, str | None],
        row: int,
        where: RowsIn,
        rows_at: str | None,
        mark: tuple[int, int] | None = None,
    ) -> None:
        self._where, self._rows_at = where, rows_at
        self._get = getter_of(wanted or (), constants)
        self._noted = ColumnNames() if wanted is None else None
        self.malformed = 0
        self.position = row
        self._text = DocumentText(stream, mark[0] if mark else 0)
        self._has_more = mark is not None or self._begin()

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of all rows that were skipped."""
        return () if self._noted is None else self._noted.names()

    @property
    def mark(self) -> tuple[int, int]:
        """Byte and number of the next row."""
        return self._text.byte, self.position

    def skip(self, rows: int) -> int:
        """Skip rows; returns how many there were."""
        passed = 0
        while passed < rows and self._has_more:
            content = self._next(0 if self._noted is None else LARGEST_ROW_BYTES)
            passed += 1
            if self._noted is None:
                continue
            if isinstance(content, Malformed):
                self.malformed += 1
            else:
                self._noted.note(content)
        return passed

    def take(self, rows: int) -> list[Row]:
        """The next rows."""
        taken: list[Row] = []
        while len(taken) < rows and self._has_more:
            content = self._next(LARGEST_ROW_BYTES)
            taken.append(content if isinstance(content, Malformed) else self._get(content))
        return taken

    def _next(self, largest: int) -> dict[str, Any] | Malformed:
        text, size = self._text.value(largest)
        self.position += 1
        self._has_more = self._goes_on()
        return _content(text, size, self.position) if largest else {}

    def _begin(self) -> bool:
        """Go to the first row; False: there is none."""
        if self._where == "document":
            return True
        if self._where == "list":
            return self._enter()
        self._text.take(b"{")
        return self._next_list(is_first=True)

    def _enter(self) -> bool:
        self._text.take(b"[")
        return not self._text.takes(b"]") or self._leave()

    def _goes_on(self) -> bool:
        """Go to the row behind one."""
        if self._where != "document":
            if self._text.takes(b","):
                return True
            self._text.take(b"]")
        return self._leave()

    def _leave(self) -> bool:
        """Go from the end of a list to the next one's first row, or to the document's end."""
        if self._where == "members" and self._next_list(is_first=False):
            return True
        if self._where == "member":
            while not self._text.takes(b"}"):
                self._text.take(b",")
                self._text.key()
                self._text.value(0)
        if self._text.peek():
            raise FileFormError(_NO_JSON)
        return False

    def _next_list(self, *, is_first: bool) -> bool:
        """Go to the first row of the next list; False: there is none up to the object's end."""
        while not self._text.takes(b"}"):
            if not is_first:
                self._text.take(b",")
            is_first = False
            if self._text.key() == self._rows_at or self._where == "members":
                return self._enter()
            self._text.value(0)
        return False


def _content(text: bytes, size: int, number: int) -> dict[str, Any] | Malformed:
    if size > LARGEST_ROW_BYTES:
        return Malformed(number, Reason.EVENT_TOO_LARGE, f"{size} bytes, the limit of a row is {LARGEST_ROW_BYTES}")
    return object_of(text, number)
