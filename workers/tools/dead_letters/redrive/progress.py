"""How far a redrive has got, kept as the committed offsets of a group of its own.

Never joins the group: two redrives at a time would not share the work but do it twice, so each commit looks first
whether somebody else has moved the offsets meanwhile, and stops if so.
"""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition

from schemas.errors import ModerationError
from schemas.record import SourceRecord
from workers.kafka.connection import connection
from workers.kafka.reader import CONNECT_S, Spans
from workers.settings.sections import KafkaSettings
from workers.tools.dead_letters.redrive.left import LeftOffsets
from workers.tools.dead_letters.redrive.letters import RedriveLetter
from workers.tools.dead_letters.redrive.selection import (
    Passed,
    Selection,
    advanced,
    from_metadata,
    start_of,
    to_metadata,
)

COMMIT_TIMEOUT_MS = 30_000


class RedriveProgress:
    """Offsets of a redrive's group. Use as a context manager.

    Args:
        settings: where Kafka is.
        group: the redrive's group.
        selection: what is put back.
        spans: what the dead-letter topic holds.
        from_start: forget what earlier redrives have seen to.

    `not_remembered` counts letters that were left and that the next run will not look at again: there are too many.

    Raises:
        KafkaError: from all methods; `kafka_faults` translates it.
    """

    def __init__(
        self, settings: KafkaSettings, group: str, selection: Selection, spans: Spans, *, from_start: bool = False
    ) -> None:
        options: dict[str, Any] = {
            "group_id": group,
            "enable_auto_commit": False,
            "bootstrap_timeout_ms": int(CONNECT_S * 1000),
        }
        self._consumer = KafkaConsumer(**connection(settings), **options)
        self._group = group
        self._selection = selection
        self._spans = spans
        self._passed: dict[TopicPartition, list[Passed]] = {}
        self._stored: dict[TopicPartition, OffsetAndMetadata | None] = {}
        self._left = dict.fromkeys(spans, LeftOffsets())
        self.not_remembered = 0
        try:
            for tp, span in spans.items():
                self._stored[tp] = stored = self._consumer.committed(tp, metadata=True)
                known = [] if stored is None or from_start else self._read(stored)
                # Offsets beyond the end are of a topic of this name that is no more.
                self._passed[tp] = [item for item in known if item.upto <= span.end]
        except BaseException:
            self._consumer.close(autocommit=False)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._consumer.close(autocommit=False)

    def start(self, partition: TopicPartition) -> int:
        """The first offset to look at."""
        return start_of(self._passed[partition], self._selection, self._spans[partition].start)

    def is_seen_to(self, letter: RedriveLetter) -> bool:
        """Whether an earlier redrive has put a letter where this one would."""
        passed = self._passed[TopicPartition(letter.record.topic, letter.record.partition)]
        return any(item.saw_to(letter, self._selection) for item in passed)

    def commit(self, positions: Mapping[TopicPartition, int], left: Iterable[SourceRecord] = ()) -> None:
        """Commit that everything before these offsets has been seen to, but for what was left in this run.

        Args:
            positions: how far.
            left: letters that were left since the last commit.

        Raises:
            ModerationError: another redrive has moved the offsets.
        """
        for record in left:
            tp = TopicPartition(record.topic, record.partition)
            self._left[tp] = self._left[tp].plus([record.offset])
            self.not_remembered += record.offset not in self._left[tp]
        offsets: dict[TopicPartition, OffsetAndMetadata] = {}
        for tp, upto in positions.items():
            if self._consumer.committed(tp, metadata=True) != self._stored[tp]:
                raise ModerationError(f"group {self._group}: another redrive is moving its offsets; one at a time")
            passed = advanced(self._passed[tp], self._selection, upto, self._left[tp], self._spans[tp].start)
            offsets[tp] = OffsetAndMetadata(max(item.upto for item in passed), to_metadata(passed), -1)
        if offsets:
            self._consumer.commit(offsets, timeout_ms=COMMIT_TIMEOUT_MS)
            self._stored |= offsets

    def _read(self, stored: OffsetAndMetadata) -> list[Passed]:
        try:
            return from_metadata(stored.offset, stored.metadata)
        except ModerationError as error:
            raise ModerationError(f"group {self._group}: {error}") from None
