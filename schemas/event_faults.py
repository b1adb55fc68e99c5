"""What is wrong with bytes that are no chat event: a reason for each way, naming fields and never their content."""

import json

from pydantic import ValidationError

from schemas.errors import EventError
from schemas.reasons import Reason

MAX_DEPTH = 32
_REASON_OF_ERROR = {
    "missing": Reason.MISSING_FIELD,
    "string_unicode": Reason.LONE_SURROGATE,
    "literal_error": Reason.UNSUPPORTED_ROLE,
    "too_short": Reason.EMPTY_MESSAGES,
}


def of_fields(error: ValidationError) -> EventError:
    """The first field that pydantic refuses."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "value"
    kind = first["type"]
    reason = _REASON_OF_ERROR.get(kind)
    if reason is None:
        reason = Reason.WRONG_TYPE if kind.endswith("_type") else Reason.INVALID_VALUE
    return EventError(reason, f"{field}: {kind}")


def read_slowly(value: bytes) -> object:
    """Name what is wrong with bytes that the fast reader refuses; a lone surrogate passes here and is refused later.

    Raises:
        EventError: not UTF-8, not JSON, or nested too deeply.
    """
    try:
        text = value.decode("utf-8")
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
