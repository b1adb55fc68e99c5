"""What a dead letter says of its original, whether Weir, the broker, Connect or Streams wrote it.

A record of another writer, or with broken headers, has no original: that is said, never guessed.
A `Selection` says which letters are asked for, and where they go.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from schemas.dead_letter import BROKER, OWN, REDRIVE_COUNT, redrive_count
from schemas.reasons import Reason, Stage
from schemas.record import Headers, SourceRecord
from workers.tools.dead_letters.dead_letters import Filters, read_letter, tenant_of

CONNECT = "__connect.errors."
STREAMS = "__streams.errors."
CLOCK_SKEW_MS = 600_000  # dead letters are stamped by our clock or the broker's, originals by their producers'
_CONNECT_STAGES = frozenset(
    {"TASK_POLL", "TASK_PUT", "TRANSFORMATION", "KEY_CONVERTER", "VALUE_CONVERTER", "HEADER_CONVERTER",
     "KAFKA_PRODUCE", "KAFKA_CONSUME"}
)  # fmt: skip
_TOPIC = re.compile(r"[A-Za-z0-9._-]{0,248}[A-Za-z0-9_-][A-Za-z0-9._-]{0,248}")
_CLASS = re.compile(r"[A-Za-z_$][\w.$]{0,199}", re.ASCII)
_NUMBER = re.compile(rb"[0-9]{1,18}")


class Family(StrEnum):
    """Who wrote a dead letter."""

    WEIR = "weir"
    BROKER = "broker"
    CONNECT = "connect"
    STREAMS = "streams"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class RedriveLetter:
    """One record of a dead-letter topic and the original that it holds, or points to.

    Args:
        record: as it is in the topic.
        family: who wrote it.
        original: as it was at its source, its timestamp aside; None where that cannot be told.
        fault: why it cannot; never a header's value.
        is_pointer: key, value and headers of the original have to be fetched from its source.
        count: how often it has been put back.
        cause: reason and stage for people, in the words of its family.
        reason, stage, model_revision: of a letter of ours.
    """

    record: SourceRecord
    family: Family
    original: SourceRecord | None = None
    fault: str = ""
    is_pointer: bool = False
    count: int = 0
    cause: tuple[str, str] = ("", "")
    reason: Reason | None = None
    stage: Stage | None = None
    model_revision: str | None = None

    def passes(self, filters: Filters) -> bool:
        """Whether it is asked for. A tenant is told only where the value is here and can be read."""
        written_ms = self.record.timestamp_ms
        return filters.fits(written_ms, self.reason, self.stage, self.model_revision, self._tenant)

    def fetched(self, original: SourceRecord) -> SourceRecord:
        """The original of a pointer, from what stands at its source."""
        return original._replace(headers=without(original.headers, OWN, BROKER))

    def is_of(self, found: SourceRecord) -> bool:
        """Whether what stands at a pointer's source can be its original: a topic may have been made anew."""
        assert self.original is not None
        key = self.original.key
        return key in (None, found.key) and found.timestamp_ms <= self.record.timestamp_ms + CLOCK_SKEW_MS

    def _tenant(self) -> str | None:
        return None if self.original is None or self.is_pointer else tenant_of(self.original.value)


@dataclass(frozen=True, slots=True)
class Selection:
    """Letters to put back, and the topic they go to: that of their source where `to` is None."""

    filters: Filters = field(default_factory=Filters)
    to: str | None = None

    def destination(self, letter: RedriveLetter) -> str | None:
        """Where a letter is to go; None where it says nothing of its source, and so may be anything."""
        return None if letter.original is None else self.to or letter.original.topic

    def passes(self, letter: RedriveLetter) -> bool:
        """Whether a letter is asked for."""
        return letter.passes(self.filters)

    def covers(self, other: "Selection") -> bool:
        """Whether all that the other asks for is asked for here, with the same destination."""
        mine, its = self.filters, other.filters
        since, until = mine.since_ms, mine.until_ms
        return (
            self.to == other.to
            and mine.reason in (None, its.reason)
            and mine.stage in (None, its.stage)
            and mine.tenant in (None, its.tenant)
            and mine.model_revision in (None, its.model_revision)
            and (since is None or (its.since_ms is not None and since <= its.since_ms))
            and (until is None or (its.until_ms is not None and until >= its.until_ms))
        )


def redrive_letter(record: SourceRecord) -> RedriveLetter:
    """Read one record of a dead-letter topic, whoever wrote it."""
    names = {name for name, _ in record.headers}
    if OWN + "reason" in names:
        return _of_weir(record)
    for prefix, read in _FAMILIES.items():
        if prefix + "topic" in names:
            return read(record)
    return RedriveLetter(record, Family.UNKNOWN, fault="no header says where it comes from")


def without(headers: Headers, *prefixes: str) -> Headers:
    """Headers without those of some families."""
    return tuple(item for item in headers if not item[0].startswith(prefixes))


def _of_weir(record: SourceRecord) -> RedriveLetter:
    found = read_letter(record)
    letter = found.letter
    if letter is None:
        return RedriveLetter(record, Family.WEIR, fault=found.fault)
    source = letter.source
    if _TOPIC.fullmatch(source.topic) is None:
        return RedriveLetter(record, Family.WEIR, fault=f"header {BROKER}topic: not a topic's name")
    return RedriveLetter(
        record,
        Family.WEIR,
        SourceRecord(
            source.topic, source.partition, source.offset, record.timestamp_ms, letter.key, letter.value, letter.headers
        ),
        is_pointer=letter.value_dropped,
        count=letter.redrive_count,
        cause=(letter.reason, letter.stage),
        reason=letter.reason,
        stage=letter.stage,
        model_revision=letter.model_revision,
    )


def _of_broker(record: SourceRecord) -> RedriveLetter:
    # A share group's dead letter has neither key nor value unless its group is told to copy them (KIP-1191).
    return _of_others(record, Family.BROKER, BROKER, is_pointer=record.key is None and record.value is None)


def _of_connect(record: SourceRecord) -> RedriveLetter:
    stage = (record.header(CONNECT + "stage") or b"").decode("latin-1")
    cause = _class_name(record, CONNECT + "exception.class.name"), stage if stage in _CONNECT_STAGES else ""
    return _of_others(record, Family.CONNECT, CONNECT, cause)


def _of_streams(record: SourceRecord) -> RedriveLetter:
    return _of_others(record, Family.STREAMS, STREAMS, (_class_name(record, STREAMS + "exception"), ""))


_FAMILIES: dict[str, Callable[[SourceRecord], RedriveLetter]] = {
    BROKER: _of_broker,
    CONNECT: _of_connect,
    STREAMS: _of_streams,
}


def _of_others(
    record: SourceRecord, family: Family, prefix: str, cause: tuple[str, str] = ("", ""), *, is_pointer: bool = False
) -> RedriveLetter:
    topic = (record.header(prefix + "topic") or b"").decode("latin-1")
    if _TOPIC.fullmatch(topic) is None:
        return RedriveLetter(record, family, fault=f"header {prefix}topic: not a topic's name")
    source = {name: record.header(prefix + name) or b"" for name in ("partition", "offset")}
    for name, number in source.items():
        if _NUMBER.fullmatch(number) is None:
            return RedriveLetter(record, family, fault=f"header {prefix}{name}: not a whole number")
    partition, offset = (int(number) for number in source.values())
    headers = without(record.headers, prefix, REDRIVE_COUNT)
    original = SourceRecord(topic, partition, offset, record.timestamp_ms, record.key, record.value, headers)
    return RedriveLetter(record, family, original, is_pointer=is_pointer, count=redrive_count(record), cause=cause)


def _class_name(record: SourceRecord, header: str) -> str:
    name = (record.header(header) or b"").decode("latin-1")
    return name if _CLASS.fullmatch(name) else ""
