"""A header name that is no text, as kafka-python takes it for sending: dead letters and redrives carry it on."""


class HeaderName(str):
    """A header's name that is not UTF-8: text with backslashes for us, its original bytes for Kafka."""

    __slots__ = ("raw",)
    raw: bytes

    def __new__(cls, raw: bytes) -> "HeaderName":
        """The name of some bytes."""
        name = super().__new__(cls, raw.decode("utf-8", "backslashreplace"))
        name.raw = raw
        return name

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:  # noqa: ARG002 - str's own
        """What kafka-python sends."""
        return self.raw
