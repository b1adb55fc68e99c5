"""How a file of separated values is written: as told, or as fits its beginning best.

Not `csv.Sniffer`, which guesses from the frequency of characters and takes a letter for the delimiter of a short file.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

from schemas.errors import ConfigurationError
from workers.files.text_lines import is_utf8

_DELIMITERS = (",", ";", "\t", "|")
_QUOTING: tuple[tuple[str | None, str | None], ...] = (('"', None), ('"', "\\"), (None, None))
_TOLD = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_NAMES = {"tab": "\t", "\\t": "\t", "none": None, "": None}


def told_by(line: str) -> str | None:
    """The delimiter that a file's first line tells Excel of; None of any other line."""
    found = _TOLD.fullmatch(line)
    return None if found is None else found[1]


class Dialect(NamedTuple):
    """How it is written. Without a quote, every delimiter separates; without an escape, a quote is written twice."""

    delimiter: str
    quote: str | None
    escape: str | None
    encoding: str

    def reader(self, lines: Iterator[str]) -> Any:
        """The standard library's reader of such lines, which refuses what is off the form."""
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quotechar=self.quote,
            escapechar=self.escape,
            quoting=csv.QUOTE_NONE if self.quote is None else csv.QUOTE_MINIMAL,
            strict=True,
        )


class DialectAsked(NamedTuple):
    """What the user said of it; None: nothing. `tab` and `none` are words for what is hard to type."""

    delimiter: str | None = None
    quote: str | None = None
    escape: str | None = None
    encoding: str | None = None

    def checked(self) -> "DialectAsked":
        """The same.

        Raises:
            ConfigurationError: an option is not one character, or there is no such encoding.
        """
        for name, given in zip(("delimiter", "quote", "escape"), self[:3], strict=True):
            value = None if given is None else _NAMES.get(given, given)
            if value is None and (given is None or name != "delimiter"):
                continue
            if value is None or len(value) != 1 or not value.isascii() or value in "\r\n":
                raise ConfigurationError(f"--{name} {given!r}: one ASCII character is needed, or a word: tab, none")
        if self.encoding is not None:
            try:
                is_utf8(self.encoding)
                "".encode(self.encoding)
            except LookupError:
                raise ConfigurationError(f"--encoding {self.encoding}: there is no such text encoding") from None
        return self


AS_FOUND = DialectAsked()


def dialect_of(sample: Sequence[str], usual: str, asked: DialectAsked, encoding: str, *, is_whole: bool) -> Dialect:
    """The dialect in which a file's first lines have the fewest malformed rows, the more usual of two such.

    Args:
        sample: lines with their ends.
        usual: delimiter that the file's name stands for.
        asked: what is known.
        encoding: that the lines were read in.
        is_whole: whether they are the whole file; otherwise the last row may be cut, which says nothing.
    """
    if sample and (told := told_by(sample[0])) is not None:
        sample = sample[1:]
        asked = asked if asked.delimiter is not None else asked._replace(delimiter=told)
    delimiters = dict.fromkeys((usual, *_DELIMITERS))
    if asked.delimiter is not None:
        delimiters = {_NAMES.get(asked.delimiter, asked.delimiter) or usual: None}
    quoting = [
        (
            quote if asked.quote is None else _NAMES.get(asked.quote, asked.quote),
            escape if asked.escape is None else _NAMES.get(asked.escape, asked.escape),
        )
        for quote, escape in _QUOTING
    ]
    best, fewest = Dialect(next(iter(delimiters)), *quoting[0], encoding), (2, len(sample) + 1)
    for delimiter, (quote, escape) in product(delimiters, dict.fromkeys(quoting)):
        dialect = Dialect(delimiter, quote, escape, encoding)
        malformed, width = _malformed(dialect, sample, is_whole=is_whole)
        found = (int(width < 2), malformed)
        if found < fewest:
            best, fewest = dialect, found
    return best


def _malformed(dialect: Dialect, sample: Sequence[str], *, is_whole: bool) -> tuple[int, int]:
    """How many of the rows do not have as many fields as the header, and how many it has."""
    lines = iter(sample)
    reader = dialect.reader(lines)
    malformed = width = 0
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as error:
            malformed += is_whole or "end of data" not in str(error)
            continue
        if fields is None:
            return malformed, width
        if fields:
            width = width or len(fields)
            malformed += len(fields) != width
