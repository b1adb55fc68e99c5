"""What stands for the value of a record that cannot be read or would cost too much to hold: no bytes, and why."""

from schemas.reasons import Reason


class CutValue(bytes):
    """Empty bytes in place of a value; the record's headers are left out as well.

    Attributes:
        detail: what was too much, with the limit, or what cannot be read.
        reason: of the dead letter that the record becomes.
    """

    detail: str
    reason: Reason

    def __new__(cls, detail: str, reason: Reason = Reason.EVENT_TOO_LARGE) -> "CutValue":
        """In place of a value, for a reason."""
        value = super().__new__(cls)
        value.detail = detail
        value.reason = reason
        return value
