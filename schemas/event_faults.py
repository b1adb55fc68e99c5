"""What is wrong with bytes that are no chat event: a reason for each way, naming fields and never their content."""

from pydantic import ValidationError

from schemas.cut_value import CutValue
from schemas.errors import EventError
from schemas.reasons import Reason


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
