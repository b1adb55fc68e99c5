"""Puts counts by hour into buckets that a chart can show.

A few events with a wrong clock must not stretch the axis over decades; they are counted beside it.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from workers.audit.report.counts import GroupCounts, in_order
from workers.audit.report.model import Bucket, Times, Unit

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_BUCKETS = {"hour": 24 * 7, "day": 400, "month": 240}
"""Most buckets of each unit; beyond, the next one is taken."""
_UNITS: tuple[Unit, ...] = ("hour", "day", "month", "year")
_STRAY = 0.001
"""Share of rows at either end that may lie outside of the axis, where that makes its unit finer."""


def times_of(hours: GroupCounts) -> Times:
    """The counts by time, in the finest unit that fits; no stretch between the first and the last is left out."""
    known = sorted(hour for hour in hours.severities if hour is not None)
    without = hours.severities.get(None, Counter[str]()).total() + hours.rest[0].total()
    if not known:
        return Times(unit="day", buckets=[], without_time=without, earlier=0, later=0)
    first, last = known[0], known[-1]
    low, high = _window(known, hours.severities)
    if _UNITS.index(_unit(low, high)) < _UNITS.index(_unit(first, last)):
        first, last = low, high
    unit = _unit(first, last)
    severities: dict[datetime, Counter[str]] = {}
    categories: dict[datetime, Counter[str]] = {}
    for hour in known:
        if first <= hour <= last:
            start = _start(hour, unit)
            severities.setdefault(start, Counter()).update(hours.severities[hour])
            categories.setdefault(start, Counter()).update(hours.categories[hour])
    buckets = [
        Bucket(
            start=start.isoformat(),
            severities=in_order(severities.get(start, Counter())),
            categories=dict(sorted(categories.get(start, Counter()).items())),
        )
        for start in _axis(_start(first, unit), _start(last, unit), unit)
    ]
    return Times(
        unit=unit,
        buckets=buckets,
        without_time=without,
        earlier=sum(hours.severities[hour].total() for hour in known if hour < first),
        later=sum(hours.severities[hour].total() for hour in known if hour > last),
    )


def _window(known: list[int], rows: Mapping[Any, Counter[str]]) -> tuple[int, int]:
    """The hours that are left once the outliers at both ends are gone."""
    allowed = _STRAY * sum(rows[hour].total() for hour in known)

    def end(hours: list[int]) -> int:
        passed = 0
        for hour in hours:
            passed += rows[hour].total()
            if passed > allowed:
                return hour
        return hours[-1]

    return end(known), end(known[::-1])


def _unit(first: int, last: int) -> Unit:
    hours = last - first + 1
    spans = {"hour": hours, "day": hours / 24, "month": hours / 24 / 30}
    for unit in _UNITS[:-1]:
        if spans[unit] <= _MOST_BUCKETS[unit]:
            return unit
    return "year"


def _start(hour: int, unit: Unit) -> datetime:
    """When the bucket of an hour begins."""
    moment = _EPOCH + timedelta(hours=hour)
    if unit == "hour":
        return moment
    day = moment.replace(hour=0)
    if unit == "day":
        return day
    return day.replace(day=1) if unit == "month" else day.replace(month=1, day=1)


def _axis(start: datetime, last: datetime, unit: Unit) -> list[datetime]:
    """All buckets from one to the other, empty ones included."""
    axis = [start]
    while axis[-1] < last:
        now = axis[-1]
        if unit in ("hour", "day"):
            axis.append(now + timedelta(**{f"{unit}s": 1}))
        elif unit == "month":
            axis.append(now.replace(year=now.year + now.month // 12, month=now.month % 12 + 1))
        else:
            axis.append(now.replace(year=now.year + 1))
    return axis
