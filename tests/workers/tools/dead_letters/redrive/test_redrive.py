"""What becomes of each dead letter, and how far the offsets go: without a broker, with the clock in hand."""

from collections.abc import Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.dead_letter import REDRIVE_COUNT
from schemas.errors import ConfigurationError, ModerationError
from schemas.reasons import Reason
from schemas.record import Partition, SourceRecord
from workers.kafka.reader import OffsetRange
from workers.settings.sections import TopicSettings
from workers.tools.dead_letters.dead_letters import Filters
from workers.tools.dead_letters.redrive.letters import CONNECT, Selection
from workers.tools.dead_letters.redrive.redrive import BATCH_RECORDS, Pace, Redrive, RedriveOrder, RedriveReport
from workers.tools.dead_letters.redrive.routes import Fate, Routes

TOPICS = TopicSettings(events=("in",), verdicts="out", dead_letters="dlq")
THERE = {"in": 4, "other": 2, "dlq.parking": 3, "dlq": 2, "out": 2, "__consumer_offsets": 1}


def letter(
    offset: int, *, partition: int = 0, topic: str = "in", source_partition: int = 3, count: int = 0
) -> SourceRecord:
    """A dead letter of Connect: the least that says where it comes from."""
    source = {"topic": topic, "partition": source_partition, "offset": 9}
    headers = tuple((CONNECT + name, str(value).encode()) for name, value in source.items())
    return SourceRecord("dlq", partition, offset, 0, b"k", b"v%d" % offset, (*headers, (REDRIVE_COUNT, b"%d" % count)))


UNKNOWN = SourceRecord("dlq", 0, 1, 0, b"k", b"v", ())


class Partitions:
    """Topics that there are."""

    def of(self, topic: str) -> dict[int, OffsetRange]:
        return {number: OffsetRange(0, 10) for number in range(THERE.get(topic, 0))}


def routes(selection: Selection | None = None, topics: TopicSettings = TOPICS, *, dry: bool = False) -> Routes:
    sources: Any = SimpleNamespace(read=lambda _: iter(()))
    partitions: Any = Partitions()
    return Routes(topics, selection or Selection(), 3, sources, partitions, dry=dry)


def fate(record: SourceRecord, selection: Selection | None = None) -> tuple[Fate, str]:
    handled = routes(selection).handle(record, lambda _: False)
    return handled.fate, handled.why


def test_a_letter_goes_back_to_its_own_partition_with_its_count() -> None:
    outgoing = routes().handle(letter(0, count=1), lambda _: False).outgoing
    assert outgoing is not None
    assert (outgoing.topic, outgoing.partition, outgoing.key, outgoing.value) == ("in", 3, b"k", b"v0")
    assert outgoing.headers == ((REDRIVE_COUNT, b"2"),)


@pytest.mark.parametrize(
    ("record", "selection", "target"),
    [
        (letter(0, source_partition=7), Selection(), ("in", None)),
        (letter(0, source_partition=1), Selection(to="other"), ("other", None)),
        (letter(0), Selection(to="in"), ("in", 3)),
        (letter(0, partition=1, count=3), Selection(), ("dlq.parking", 1)),
        (letter(0, partition=1, count=4), Selection(to="other"), ("dlq.parking", 1)),
    ],
)
def test_elsewhere_the_key_decides(record: SourceRecord, selection: Selection, target: tuple[str, int | None]) -> None:
    outgoing = routes(selection).handle(record, lambda _: False).outgoing
    assert outgoing is not None
    assert (outgoing.topic, outgoing.partition) == target


def test_a_parked_letter_is_a_copy_of_the_letter() -> None:
    record = letter(0, count=3)
    outgoing = routes().handle(record, lambda _: False).outgoing
    assert outgoing is not None
    assert (outgoing.key, outgoing.value, outgoing.headers) == (record.key, record.value, record.headers)


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (UNKNOWN, "no header says"),
        (letter(0, topic="gone"), "topic gone does not exist"),
        (letter(0, topic="out"), "the topic of verdicts"),
        (letter(0, topic="dlq"), "a topic of dead letters"),
        (letter(0, topic="dlq.parking"), "a topic of dead letters"),
        (letter(0, topic="__consumer_offsets"), "Kafka's own"),
    ],
)
def test_what_cannot_be_put_back_is_left_with_the_reason(record: SourceRecord, why: str) -> None:
    found, said = fate(record)
    assert found is Fate.LEFT
    assert why in said


def test_what_is_not_asked_for_is_skipped_whatever_it_is() -> None:
    asked = Selection(Filters(reason=Reason.TOO_LONG))
    assert fate(letter(0), asked)[0] is fate(UNKNOWN, asked)[0] is Fate.SKIPPED


@pytest.mark.parametrize("to", ["out", "dlq", "dlq.parking", "__consumer_offsets"])
def test_nothing_is_put_back_to_a_topic_of_outcomes(to: str) -> None:
    with pytest.raises(ConfigurationError, match=f"--to {to}"):
        routes(Selection(to=to))


def test_the_parking_topics_parking_topic_is_itself() -> None:
    parking = TOPICS.model_copy(update={"dead_letters": "dlq.parking"})
    record = letter(0, count=3)._replace(topic="dlq.parking")
    assert routes(topics=parking).handle(record, lambda _: False).fate is Fate.LEFT


def test_a_missing_parking_topic_stops_the_redrive_but_not_a_dry_one() -> None:
    elsewhere = TOPICS.model_copy(update={"dead_letters": "dlq2"})
    with pytest.raises(ModerationError, match=r"dlq2\.parking: does not exist"):
        routes(topics=elsewhere).handle(letter(0, count=3), lambda _: False)
    assert routes(topics=elsewhere, dry=True).handle(letter(0, count=3), lambda _: False).fate is Fate.PARKED


# -- the run -----------------------------------------------------------------------------------------------------------


class Offsets:
    """Commits of a run."""

    def __init__(self) -> None:
        self.commits: list[tuple[dict[int, int], list[int]]] = []

    def is_seen_to(self, _: Any) -> bool:
        return False

    def commit(self, positions: dict[Partition, int], left: Sequence[SourceRecord] = ()) -> None:
        self.commits.append(
            ({partition.number: at for partition, at in positions.items()}, [record.offset for record in left])
        )


class Sender:
    """Takes all, but fails at the record of an offset, having taken those of some others."""

    def __init__(self, fails_at: bytes | None = None, takes_behind: Sequence[bytes] = ()) -> None:
        self.sent: list[list[bytes]] = []
        self._fails_at = fails_at
        self._takes_behind = takes_behind

    def send(self, records: Sequence[Any]) -> None:
        values = [record.value for record in records]
        self.sent.append(values)
        stop = values.index(self._fails_at) if self._fails_at in values else len(values)
        for index, record in enumerate(records):
            record.is_acknowledged = index < stop or record.value in self._takes_behind
        if stop < len(values):
            raise ModerationError("down")


def run(
    records: Sequence[SourceRecord], order: RedriveOrder | None = None, sender: Sender | None = None
) -> tuple[Offsets, Sender, RedriveReport]:
    offsets, order, sender = Offsets(), order or RedriveOrder(), sender or Sender()
    report = RedriveReport("dlq", "g")
    reader: Any = SimpleNamespace(read=lambda _: iter(records))
    ranges = {Partition("dlq", number): OffsetRange(0, 100) for number in {record.partition for record in records}}
    parts: Any = (offsets, sender)
    with suppress(ModerationError):
        Redrive(order, routes(order.selection), *parts, Pace(None), report).run(reader, ranges, lambda *_: None)
    return offsets, sender, report


def test_p2_offsets_go_behind_what_is_acknowledged_and_to_the_end() -> None:
    offsets, sender, report = run([letter(0), UNKNOWN, letter(5)])
    assert sender.sent == [[b"v0", b"v5"]]
    assert offsets.commits == [({0: 0}, []), ({0: 6}, [1]), ({0: 100}, [])]
    assert (report.put_back, report.left, report.is_complete) == (2, 1, True)


def test_p2_offsets_stop_before_the_first_letter_that_is_not_acknowledged() -> None:
    records = [
        letter(0),
        letter(1),
        UNKNOWN._replace(offset=2),
        letter(3),
        letter(7, partition=1),
        letter(8, partition=1),
    ]
    offsets, _, report = run(records, sender=Sender(b"v1", [b"v3", b"v7", b"v8"]))
    assert offsets.commits[1:] == [({0: 1, 1: 9}, [])]
    assert (report.put_back, report.left, report.is_complete) == (3, 0, False)


def test_a_limit_ends_the_run_where_it_is_reached() -> None:
    offsets, sender, report = run([letter(0), UNKNOWN, letter(2), letter(3)], RedriveOrder(limit=2))
    assert sender.sent == [[b"v0", b"v2"]]
    assert offsets.commits[-1] == ({0: 3}, [1])
    assert (report.put_back, report.is_complete) == (2, False)


def test_a_dry_run_sends_and_commits_nothing() -> None:
    offsets, sender, report = run([letter(0), letter(1, count=3)], RedriveOrder(dry_run=True))
    assert (offsets.commits, sender.sent) == ([], [])
    assert (report.put_back, report.parked) == (1, 1)


def test_batches_are_bounded() -> None:
    _, sender, _ = run([letter(offset) for offset in range(2 * BATCH_RECORDS + 1)])
    assert [len(batch) for batch in sender.sent] == [BATCH_RECORDS, BATCH_RECORDS, 1]


def test_a_rate_is_kept_on_average_and_no_batch_is_more_than_a_second() -> None:
    now, waits = [100.0], list[float]()

    def wait(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    pace = Pace(20.0, lambda: now[0], wait)
    assert pace.most == 20
    for _ in range(3):
        pace.before(20)
        now[0] += 0.25  # the sending takes its time, which counts
    assert waits == [0.75, 0.75]
    assert Pace(0.1).most == 1
    assert Pace(None).most == BATCH_RECORDS
