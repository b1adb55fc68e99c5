"""Reads the dead-letter topic: counts letters by reason, or shows single ones.

Reads outside any group, up to the ends that the topic has now. Changes nothing and puts nothing back. A record without
our headers is foreign: it is counted, and never an error.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from schemas.dead_letter import DeadLetter, read_dead_letter
from schemas.errors import ConfigurationError, ModerationError
from schemas.reasons import Reason, Stage
from schemas.record import Partition, SourceRecord
from workers.kafka.errors import kafka_faults
from workers.kafka.reader import OffsetRange, OffsetsRead, Progress, TopicReader
from workers.settings.loading import Settings

_AT = re.compile(r"(\d{1,9}):(\d{1,18})")
_SOURCE = re.compile(r"(.+)-(\d{1,9})-(\d{1,18})")


@dataclass(frozen=True, slots=True)
class FoundLetter:
    """One record of the dead-letter topic; `letter` is None where it is foreign, and `fault` says why."""

    record: SourceRecord
    letter: DeadLetter | None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Filters:
    """Which letters; None lets all through. Foreign ones only pass where nothing but the time is asked for."""

    reason: Reason | None = None
    stage: Stage | None = None
    tenant: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    model_revision: str | None = None

    def passes(self, found: FoundLetter) -> bool:
        """Whether one is asked for."""
        letter, written_ms = found.letter, found.record.timestamp_ms
        if letter is None:
            return self.fits(written_ms)
        return self.fits(
            written_ms, letter.reason, letter.stage, letter.model_revision, lambda: tenant_of(letter.value)
        )

    def fits(
        self,
        written_ms: int,
        reason: Reason | None = None,
        stage: Stage | None = None,
        model_revision: str | None = None,
        tenant: Callable[[], str | None] = lambda: None,
    ) -> bool:
        """Whether a letter of these properties is asked for; what it does not say is None."""
        return (
            (self.since_ms is None or written_ms >= self.since_ms)
            and (self.until_ms is None or written_ms < self.until_ms)
            and self.reason in (None, reason)
            and self.stage in (None, stage)
            and self.model_revision in (None, model_revision)
            and (self.tenant is None or self.tenant == tenant())
        )


@dataclass(slots=True)
class Tally:
    """How many of one kind, and the timestamps of the first and the last."""

    count: int = 0
    first_ms: int = 0
    last_ms: int = 0

    def add(self, timestamp_ms: int) -> None:
        """Count one."""
        self.first_ms = timestamp_ms if not self.count else min(self.first_ms, timestamp_ms)
        self.last_ms = max(self.last_ms, timestamp_ms)
        self.count += 1


@dataclass(slots=True)
class Histogram:
    """Letters by reason and by the topic of their source."""

    by_reason: dict[Reason, Tally] = field(default_factory=dict)
    by_source_topic: dict[str, int] = field(default_factory=dict)
    foreign: int = 0

    @property
    def count(self) -> int:
        """All letters that are ours."""
        return sum(self.by_source_topic.values())

    def add(self, found: FoundLetter) -> None:
        """Count one."""
        letter = found.letter
        if letter is None:
            self.foreign += 1
            return
        self.by_reason.setdefault(letter.reason, Tally()).add(found.record.timestamp_ms)
        self.by_source_topic[letter.source.topic] = self.by_source_topic.get(letter.source.topic, 0) + 1


def histogram(letters: Iterable[FoundLetter]) -> Histogram:
    """Count letters."""
    counted = Histogram()
    for found in letters:
        counted.add(found)
    return counted


def scan(
    settings: Settings, filters: Filters | None = None, progress: Progress = lambda _done, _total: None
) -> Iterator[FoundLetter]:
    """The letters that pass; those of one partition in the order in which they were written.

    Args:
        settings: the topic and where Kafka is.
        filters: all letters where None.
        progress: called with the number of offsets read and their total.

    Raises:
        ModerationError: Kafka does not answer, or the topic is not there.
    """
    chosen = filters or Filters()
    with kafka_faults(settings.kafka), TopicReader(settings.kafka) as reader:
        ranges = reader.ranges((settings.topics.dead_letters,), chosen.since_ms)
        for record in reader.read(ranges, OffsetsRead(progress, ranges)):
            found = read_letter(record)
            if chosen.passes(found):
                yield found


def find(settings: Settings, which: str, progress: Progress = lambda _done, _total: None) -> list[FoundLetter]:
    """The letter at `PARTITION:OFFSET` of the topic, or all letters of the source `TOPIC-PARTITION-OFFSET`.

    Where that is the dead-letter topic itself, as `weir trace` prints it, the one that was written there.

    Raises:
        ConfigurationError: `which` is in neither form.
        ModerationError: there is no such letter.
    """
    if (match := _AT.fullmatch(which)) is not None:
        letters = _at(settings, int(match[1]), int(match[2]))
    elif (match := _SOURCE.fullmatch(which)) is not None and match[1] == settings.topics.dead_letters:
        letters = _at(settings, int(match[2]), int(match[3]))
    elif match is not None:
        letters = [found for found in scan(settings, None, progress) if _source_id(found) == which]
    else:
        raise ConfigurationError(
            f"{which}: neither PARTITION:OFFSET of a dead letter nor a source TOPIC-PARTITION-OFFSET"
        )
    if not letters:
        raise ModerationError(f"{which}: no such dead letter in {settings.topics.dead_letters}")
    return letters


def read_letter(record: SourceRecord) -> FoundLetter:
    """One record of the topic, whoever wrote it."""
    try:
        return FoundLetter(record, read_dead_letter(record))
    except ValueError as error:
        # pydantic's messages repeat their input, ours name the header only.
        fault = str(error) if str(error).startswith("header ") else type(error).__name__
        return FoundLetter(record, None, fault)


def tenant_of(value: bytes | None) -> str | None:
    """The tenant that an original event names, where that can still be read."""
    payload = _json(value)
    if "specversion" in payload:
        data = payload.get("data")
        payload = data if isinstance(data, dict) else {}
    tenant = payload.get("tenant", "default" if payload else None)
    return tenant if isinstance(tenant, str) else None


def _json(value: bytes | None) -> dict[str, Any]:
    try:
        payload = json.loads(value or b"")
    except (ValueError, RecursionError):
        return {}
    return payload if isinstance(payload, dict) else {}


def _at(settings: Settings, partition: int, offset: int) -> list[FoundLetter]:
    with kafka_faults(settings.kafka), TopicReader(settings.kafka) as reader:
        there = Partition(settings.topics.dead_letters, partition)
        held = reader.ranges((there.topic,)).get(there)
        if held is not None and held.start <= offset < held.end:
            return [read_letter(record) for record in reader.read({there: OffsetRange(offset, offset + 1)})]
    return []


def _source_id(found: FoundLetter) -> str | None:
    if found.letter is None:
        return None
    source = found.letter.source
    return f"{source.topic}-{source.partition}-{source.offset}"
