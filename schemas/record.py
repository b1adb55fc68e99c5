"""A record as read from a topic and a record to be written, free of any client library.

Knows nothing of Kafka's wire format or of what the bytes mean.
"""

from typing import NamedTuple

Headers = tuple[tuple[str, bytes | None], ...]
JSON_CONTENT = ("content-type", b"application/json")  # header of what we write as JSON


class Partition(NamedTuple):
    """A partition of a topic."""

    topic: str
    number: int


class SourceRecord(NamedTuple):
    """One consumed record. `timestamp_ms` is the record's own timestamp, milliseconds since the epoch."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def topic_partition(self) -> Partition:
        """The partition that it was read from."""
        return Partition(self.topic, self.partition)

    @property
    def record_id(self) -> str:
        """`topic-partition-offset`: unique, and safe to log."""
        return f"{self.topic}-{self.partition}-{self.offset}"

    def header(self, name: str) -> bytes | None:
        """Last value of a header, as Kafka's `lastHeader` does; None where there is none."""
        for key, value in reversed(self.headers):
            if key == name:
                return value
        return None


class OutputRecord(NamedTuple):
    """One record to produce. `partition` None leaves the choice to the key's hash."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
