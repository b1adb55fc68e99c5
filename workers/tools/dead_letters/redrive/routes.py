"""Decides what becomes of each dead letter: put back, parked or left with a reason. Looks at topics, writes to none."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from schemas.dead_letter import REDRIVE_COUNT
from schemas.errors import ConfigurationError, ModerationError
from schemas.record import SourceRecord
from workers.kafka.admin import Admin
from workers.kafka.reader import OffsetRange, TopicReader
from workers.settings.loading import Settings
from workers.settings.sections import TopicSettings
from workers.tools.dead_letters.redrive.letters import RedriveLetter, Selection, redrive_letter
from workers.tools.dead_letters.redrive.sender import Outgoing

GONE = "its value was not copied, and the original is no longer at its source"


class Fate(StrEnum):
    """What becomes of a letter."""

    PUT_BACK = "put_back"
    PARKED = "parked"
    LEFT = "left"
    EARLIER = "earlier"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Handled:
    """A letter, its fate, what is produced for it, and why it is left."""

    letter: RedriveLetter
    fate: Fate
    outgoing: Outgoing | None = None
    why: str = ""

    @property
    def refusal(self) -> str | None:
        """Why it could not be written; known once that was tried."""
        return None if self.outgoing is None else self.outgoing.refusal

    @property
    def ends_as(self) -> Fate:
        """Its fate, once it was tried to write what there was to write."""
        return self.fate if self.refusal is None else Fate.LEFT


class TopicPartitions:
    """Which topics there are, and what their partitions held when one was first asked for.

    Args:
        settings: where Kafka is.
        reader: asks.
    """

    def __init__(self, settings: Settings, reader: TopicReader) -> None:
        self._settings = settings
        self._reader = reader
        self._known: dict[str, dict[int, OffsetRange]] = {}

    def of(self, topic: str) -> dict[int, OffsetRange]:
        """Partitions of a topic; none where there is no such topic.

        Raises:
            ModerationError: this user may not know whether there is.
        """
        if topic not in self._known:
            try:
                ranges = self._reader.ranges((topic,))
            except ModerationError:
                with Admin(self._settings.kafka) as client:  # a topic that is not there, or one that is hidden
                    if client.found_topics([topic])[topic] is not None:
                        raise
                ranges = {}
            self._known[topic] = {partition.number: offsets for partition, offsets in ranges.items()}
        return self._known[topic]


class Routes:
    """Decides on letters one after another.

    Args:
        topics: names of the topics that nothing is put back to, and of the parking topic.
        selection: which letters, and where to.
        max_redrives: a letter that was put back so often is parked.
        sources: reads originals.
        partitions: tells which topics there are.
        dry: a parking topic that is missing is no error yet.

    Raises:
        ConfigurationError: the destination is a topic of outcomes.
    """

    def __init__(
        self,
        topics: TopicSettings,
        selection: Selection,
        max_redrives: int,
        sources: TopicReader,
        partitions: TopicPartitions,
        *,
        dry: bool,
    ) -> None:
        self._topics = topics
        self._selection = selection
        self._max_redrives = max_redrives
        self._sources = sources
        self._is_dry = dry
        self._partitions = partitions
        if selection.to is not None and (why := self._refused(selection.to)) is not None:
            raise ConfigurationError(f"--to {selection.to}: {why}")
        if selection.to is not None and not self._partitions.of(selection.to):
            raise ModerationError(f"topic {selection.to}: does not exist")

    def handle(self, record: SourceRecord, is_seen_to: Callable[[RedriveLetter], bool]) -> Handled:
        """Decide on one record of the dead-letter topic."""
        letter = redrive_letter(record)
        if not self._selection.passes(letter):
            return Handled(letter, Fate.SKIPPED)
        destination = self._selection.destination(letter)
        if destination is None:
            return Handled(letter, Fate.LEFT, why=letter.fault)
        if is_seen_to(letter):
            return Handled(letter, Fate.EARLIER)
        if letter.count >= self._max_redrives:
            return self._parked(letter)
        return self._put_back(letter, destination)

    def _put_back(self, letter: RedriveLetter, destination: str) -> Handled:
        original = letter.original
        assert original is not None
        if (why := self._refused(destination)) is not None:
            return Handled(letter, Fate.LEFT, why=f"its source is {destination}, {why}")
        partitions = self._partitions.of(destination)
        if not partitions:
            return Handled(letter, Fate.LEFT, why=f"topic {destination} does not exist")
        if letter.is_pointer:
            found = self._fetch(letter)
            if found is None:
                return Handled(letter, Fate.LEFT, why=GONE)
            original = found
        # Back to its own partition, however that was chosen; on another topic the key decides.
        is_home = destination == original.topic and original.partition in partitions
        headers = (*original.headers, (REDRIVE_COUNT, str(letter.count + 1).encode()))
        outgoing = Outgoing(destination, original.partition if is_home else None, original.key, original.value, headers)
        return Handled(letter, Fate.PUT_BACK, outgoing)

    def _parked(self, letter: RedriveLetter) -> Handled:
        """A copy of the letter itself, all headers included."""
        record, parking = letter.record, self._topics.parking
        if parking == record.topic:
            return Handled(letter, Fate.LEFT, why=f"put back {self._max_redrives} times, and this is the parking topic")
        partitions = self._partitions.of(parking)
        if not partitions and not self._is_dry:
            raise ModerationError(
                f"topic {parking}: does not exist, and a letter that was put back {self._max_redrives} times has to go"
                " there; `weir topics apply` creates it"
            )
        partition = record.partition % max(1, len(partitions))
        outgoing = Outgoing(parking, partition, record.key, record.value, record.headers)
        return Handled(letter, Fate.PARKED, outgoing)

    def _refused(self, topic: str) -> str | None:
        """Why nothing may be put back to a topic, whatever a header says."""
        topics = self._topics
        if topic in (topics.dead_letters, topics.parking):
            return "a topic of dead letters"
        if topic == topics.verdicts:
            return "the topic of verdicts"
        return "a topic of Kafka's own" if topic.startswith("__") else None

    def _fetch(self, letter: RedriveLetter) -> SourceRecord | None:
        """What a pointer points to, if it is still there."""
        source = letter.original
        assert source is not None
        held = self._partitions.of(source.topic).get(source.partition)
        if held is None or not held.start <= source.offset < held.end:
            return None
        wanted = {source.topic_partition: OffsetRange(source.offset, source.offset + 1)}
        for found in self._sources.read(wanted):
            if letter.is_of(found):
                return letter.fetched(found)
        return None
