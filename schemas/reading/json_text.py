"""Reads JSON, in every lane alike: also what the fast reader refuses, as clients and programs leave it."""

import json
import re

from pydantic_core import from_json

from schemas.errors import EventError
from schemas.reading.envelope import unframed
from schemas.reasons import Reason

MAX_DEPTH = 201
"""Levels that the fast reader reads, whoever needs what is there; so no more are read slowly."""
_LONGEST_INT = 4_300  # digits that Python reads as a whole number
# The first or last bytes of a character at the end or the beginning of a text, as a cut by bytes leaves them.
_CUT_CHARACTER = re.compile(
    rb'(?:[\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2})(?=")|(?<=")[\x80-\xbf]{1,3}'
)
_HALF = b"\xed\xa0\x80"  # of a character, which is replaced later


def read(value: bytes) -> object:
    """Read JSON, or name the fault.

    Read slowly is what is framed, has a mark before it or a zero behind it, has halves of characters in its texts, also
    as bytes, or control characters that nobody has escaped, or numbers of thousands of digits.

    Raises:
        EventError: nothing there, not UTF-8, not JSON, or nested too deeply.
    """
    try:
        return from_json(value)
    except ValueError:
        return read_slowly(value)


def read_slowly(value: bytes) -> object:
    """The same, of what the fast reader has refused."""
    value = unframed(value)
    if not value.strip():
        raise EventError(Reason.TOMBSTONE if not value else Reason.BLANK_TEXT, "value: empty or only white space")
    text = _decoded(value).rstrip("\0")  # one ends a text of C's
    try:
        content = json.loads(text, strict=False, parse_int=_whole_number)
    except ValueError as error:
        position = getattr(error, "pos", 0)
        raise EventError(Reason.INVALID_JSON, f"value: not JSON, at character {position} of {len(text)}") from None
    except RecursionError:
        raise _too_deep() from None
    if _is_deeper(content, MAX_DEPTH):
        raise _too_deep()
    return content


def _decoded(value: bytes) -> str:
    try:
        return value.decode("utf-8", "surrogatepass")  # halves of characters are replaced later
    except UnicodeDecodeError as error:
        start = error.start
    try:
        return _CUT_CHARACTER.sub(_HALF, value).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise EventError(Reason.NOT_UTF8, f"value: not UTF-8 at byte {start}") from None


def _whole_number(digits: str) -> float:
    return int(digits) if len(digits) <= _LONGEST_INT else float(digits)


def _too_deep() -> EventError:
    return EventError(Reason.NESTED_TOO_DEEPLY, f"value: nested more than {MAX_DEPTH} levels deep")


def _is_deeper(payload: object, limit: int) -> bool:
    # Level by level instead of by recursion: the input chooses the depth.
    level = [payload] if isinstance(payload, dict | list) else []
    for _ in range(limit):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
    return bool(level)
