"""What one side of `weir bench stream --peers` has written: whether it is right, and how fast it came.

The times are the broker's own: the result topic stamps each record when it is appended, so that all sides are measured
by one clock that costs none of them anything. The first tenth is left out: a side that works in large batches has
computed thousands of results before it appends its first, and would be given that time.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from schemas.record import SourceRecord
from schemas.verdict import Verdict
from workers.bench.stream.workload import BenchEvent

TIMESTAMPS = {"message.timestamp.type": "LogAppendTime"}
WARM_UP = 10  # one in so many
_TRACE_ID = slice(3, 35)


class Expected(NamedTuple):
    """What the result of an event must carry."""

    key: bytes
    trace_id: bytes


class Checked(NamedTuple):
    """Results of one run.

    Attributes:
        rate: events per second, from the append that ends the first tenth to the last one.
        missing: events without a result.
        wrong: results that are no verdict on any event, or with another key or trace.
        duplicates: further results of an event.
        value_bytes: mean size of a result.
    """

    rate: float
    missing: int
    wrong: int
    duplicates: int
    value_bytes: float

    @property
    def problem(self) -> str | None:
        """What breaks at least once; None where nothing does."""
        found = [(self.missing, "events without a result"), (self.wrong, "wrong results")]
        return ", ".join(f"{count} {what}" for count, what in found if count) or None


def expected_results(events: Iterable[BenchEvent]) -> list[Expected]:
    """What must become of the events, in their order."""
    return [Expected(event.key, event.traceparent[_TRACE_ID]) for event in events]


def check_results(records: Iterable[SourceRecord], expected: Sequence[Expected], *, verdicts: bool = True) -> Checked:
    """Compare a result topic with what it must hold.

    Args:
        records: each partition's in offset order, stamped on append.
        expected: by number of the event.
        verdicts: whether the results are to be verdicts; else the events themselves, as the bare loop passes them on.
    """
    seen = bytearray(len(expected))
    ids: set[str] = set()
    appended: list[int] = []
    wrong = duplicates = count = size = 0
    for record in records:
        count += 1
        size += len(record.value or b"")
        result = _read(record, expected, verdicts=verdicts)
        if result is None:
            wrong += 1
        elif seen[result.number]:
            duplicates += 1
        else:
            seen[result.number] = 1
            ids.add(result.unique_id)
            appended.append(record.timestamp_ms)
    wrong += len(appended) - len(ids)  # one verdict id for several events
    return Checked(_rate(appended), len(expected) - len(appended), wrong, duplicates, size / max(count, 1))


def _rate(appended: list[int]) -> float:
    if not appended:
        return 0.0
    appended.sort()
    start, end = appended[len(appended) // WARM_UP], appended[-1]
    return (len(appended) - bisect_right(appended, start)) * 1_000 / max(end - start, 1)


class _Result(NamedTuple):
    number: int
    unique_id: str


def _read(record: SourceRecord, expected: Sequence[Expected], *, verdicts: bool) -> _Result | None:
    """The number of the event that a record is the result of; None where it is wrong."""
    try:
        if verdicts:
            verdict = Verdict.model_validate_json(record.value or b"")
            event_id, conversation_id, unique_id = verdict.event_id, verdict.conversation_id, verdict.verdict_id
        else:
            event = json.loads(record.value or b"")
            event_id, conversation_id, unique_id = event["event_id"], event["conversation_id"], event["event_id"]
        number = int(event_id.removeprefix("event-"))
    except (ValueError, LookupError, TypeError):  # pydantic's ValidationError is a ValueError
        return None
    trace = record.header("traceparent")
    if not 0 <= number < len(expected) or trace is None:
        return None
    carried = Expected(record.key or b"", trace[_TRACE_ID])
    return _Result(number, unique_id) if carried == expected[number] and conversation_id == _text(record.key) else None


def _text(key: bytes | None) -> str:
    return (key or b"").decode()
