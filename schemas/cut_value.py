"""What stands for the value of a record that would cost too much to hold: no bytes, and what was too much."""


class CutValue(bytes):
    """Empty bytes in place of a value; the record's headers are left out as well.

    Attributes:
        detail: what was too much, with the limit.
    """

    detail: str

    def __new__(cls, detail: str) -> "CutValue":
        """In place of a value, for a reason."""
        value = super().__new__(cls)
        value.detail = detail
        return value
