"""What is wrong with bytes that are no chat event: a reason for each way, naming fields and never their content."""

import json

from pydantic import ValidationError

from schemas.cut_value import CutValue
from schemas.errors import EventError
from schemas.reading.envelope import unframed
from schemas.reasons import Reason

MAX_DEPTH = 32


def too_large(value: bytes, most: int) -> EventError:
    """A value above the limit, or one that was cut because its record would cost too much or cannot be read."""
    if isinstance(value, CutValue):
        return EventError(value.reason, value.detail)
    return EventError(Reason.EVENT_TOO_LARGE, f"value: {len(value)} bytes, limits.max_event_bytes is {most}")


def of_fields(error: ValidationError) -> EventError:
    """The first field that pydantic refuses, of an event in its normal form."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "value"
    return EventError(Reason.INVALID_VALUE, f"{field}: {first['type']}")


def read_slowly(value: bytes) -> object:
    """Read what the fast reader refuses: framed, with a mark before it, with halves of characters; or name the fault.

    Raises:
        EventError: nothing there, not UTF-8, not JSON, or nested too deeply.
    """
    value = unframed(value)
    if not value.strip():
        raise EventError(Reason.TOMBSTONE if not value else Reason.BLANK_TEXT, "value: empty or only white space")
    try:
        text = value.decode("utf-8", "surrogatepass")  # halves of characters are replaced later
    except UnicodeDecodeError as error:
        raise EventError(Reason.NOT_UTF8, f"value: not UTF-8 at byte {error.start}") from None
    try:
        return json.loads(text)
    except ValueError as error:
        position = getattr(error, "pos", 0)
        raise EventError(Reason.INVALID_JSON, f"value: not JSON, at character {position} of {len(text)}") from None
    except RecursionError:
        raise _too_deep() from None


def refuse_deep(payload: object) -> None:
    """Refuse what is nested too deeply.

    Raises:
        EventError: it is.
    """
    if _is_deeper(payload, MAX_DEPTH):
        raise _too_deep()


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
