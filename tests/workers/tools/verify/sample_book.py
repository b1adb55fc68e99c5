"""A ledger book that tests write outcomes into, as the worker would write them to topics."""

from collections.abc import Iterator
from itertools import count

from pipelines.moderation import Outcome
from schemas.reasons import Reason
from schemas.record import Headers, Partition, SourceRecord
from tests.samples.outcomes import letter_of, verdict_of, written
from workers.settings.sections import TopicSettings
from workers.tools.verify.ledger import Ledger, LedgerBook, Routes

TOPICS = TopicSettings()
EVENTS = TOPICS.events[0]
EXTRA = "moderation.blocked"


class Book:
    """A ledger book of one input partition with records, and the offsets at which outcomes are written."""

    def __init__(
        self,
        inputs: int = 6,
        start: int = 0,
        committed: int | None = None,
        limit: int = 20,
        *,
        once: bool = False,
        routes: Routes | None = None,
        resident: int = 8,
    ) -> None:
        held = (start, start + inputs)
        stored = None if committed is None else {Partition(EVENTS, 0): committed}
        self.book = LedgerBook(
            {Partition(EVENTS, 0): held},
            stored,
            limit=limit,
            once=once,
            extra_topics=(EXTRA,) if routes else (),
            routes=routes or (lambda _verdict: ()),
            resident=resident,
        )
        for offset in range(*held):
            self.book.add_input(self.input(offset))
        self._offsets: dict[tuple[str, int], Iterator[int]] = {}

    @staticmethod
    def input(offset: int, topic: str = EVENTS, partition: int = 0, headers: Headers = ()) -> SourceRecord:
        return SourceRecord(topic, partition, offset, 1000, b"k", b"{", headers)

    def write(self, outcome: Outcome, partition: int = 0, topic: str | None = None) -> None:
        """Write an outcome to the topic where it belongs, or to another."""
        output = written(outcome, b"k", TOPICS)
        name = topic or output.topic
        offset = next(self._offsets.setdefault((name, partition), count()))
        record = SourceRecord(name, partition, offset, 0, output.key, output.value, tuple(output.headers))
        add = self.book.add_dead_letter if name == TOPICS.dead_letters else self.book.add_verdict
        add(record)

    def verdicts(self, *offsets: int, partition: int = 0, topic: str | None = None, revision: str = "r1") -> None:
        for offset in offsets:
            self.write(verdict_of(self.input(offset), revision=revision), partition, topic)

    def letters(self, *offsets: int, reason: Reason = Reason.INVALID_JSON, revision: str | None = None) -> None:
        judged_by = {"model_revision": revision, "prompt_sha256": "p1"} if revision else {}
        for offset in offsets:
            self.write(letter_of(self.input(offset), reason).model_copy(update=judged_by))


def broken(ledger: Ledger) -> set[str]:
    """The promises that do not hold."""
    return {promise for promise, holds in ledger.promises.items() if not holds}
