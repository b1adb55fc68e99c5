"""Buckets of time: the unit goes by the span, a clock gone wrong does not stretch the axis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from workers.audit.report.counts import GroupCounts, hours_of
from workers.audit.report.model import Times
from workers.audit.report.times import times_of

START = datetime(2026, 1, 30, 22, 15, tzinfo=UTC)


def buckets(rows: Mapping[datetime | None, int]) -> Times:
    """The buckets of so many Unsafe PII verdicts at each time."""
    hours = GroupCounts(1_000_000)
    moments = hours_of(pa.array(rows, pa.timestamp("us", tz="UTC"))).to_pylist()
    for hour, count in zip(moments, rows.values(), strict=True):
        hours.severities.setdefault(hour, Counter())["Unsafe"] += count
        hours.categories.setdefault(hour, Counter())["PII"] += count
    return times_of(hours)


def drawn(times: Times) -> dict[str, int]:
    assert all(bucket.categories.get("PII", 0) == bucket.severities["Unsafe"] for bucket in times.buckets)
    return {bucket.start: bucket.severities["Unsafe"] for bucket in times.buckets}


def test_a_short_span_is_shown_by_the_hour_with_its_gaps() -> None:
    times = buckets({START: 2, START + timedelta(minutes=30): 1, START + timedelta(hours=3): 4})

    assert times.unit == "hour"
    assert drawn(times) == {
        "2026-01-30T22:00:00+00:00": 3,
        "2026-01-30T23:00:00+00:00": 0,
        "2026-01-31T00:00:00+00:00": 0,
        "2026-01-31T01:00:00+00:00": 4,
    }


def test_months_of_chat_are_shown_by_the_day() -> None:
    times = buckets({START + timedelta(days=day): day + 1 for day in range(60)})

    assert times.unit == "day"
    assert len(times.buckets) == 60
    assert drawn(times)["2026-01-31T00:00:00+00:00"] == 2


def test_years_of_chat_are_shown_by_the_month_or_the_year() -> None:
    months = buckets({START: 1, START.replace(year=2029): 1})
    years = buckets({START.replace(year=1990): 1, START: 1})

    assert (months.unit, len(months.buckets)) == ("month", 37)
    assert drawn(months)["2029-01-01T00:00:00+00:00"] == 1
    assert (years.unit, len(years.buckets)) == ("year", 37)


def test_a_clock_gone_wrong_is_counted_beside_the_axis() -> None:
    rows: dict[datetime | None, int] = {START + timedelta(days=day): 500 for day in range(10)}
    times = buckets({**rows, datetime(1970, 1, 1, tzinfo=UTC): 3, datetime(2100, 1, 1, tzinfo=UTC): 2, None: 7})

    assert (times.unit, len(times.buckets)) == ("day", 10)
    assert (times.earlier, times.later, times.without_time) == (3, 2, 7)
    assert sum(drawn(times).values()) == 5_000


def test_what_is_before_1970_is_rounded_down_and_what_no_calendar_has_is_without_time() -> None:
    early = datetime(1969, 12, 31, 23, 30, tzinfo=UTC)
    beyond = pa.array([2**62], pa.int64()).cast(pa.timestamp("us", tz="UTC"))

    assert drawn(buckets({early: 1})) == {"1969-12-31T23:00:00+00:00": 1}
    assert hours_of(beyond).to_pylist() == [None]


def test_no_time_at_all_gives_no_bucket() -> None:
    times = buckets({None: 9})

    assert (times.buckets, times.without_time) == ([], 9)
