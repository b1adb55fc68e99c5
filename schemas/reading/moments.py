"""Times in the forms that producers, databases and mail write them in.

A time without a zone is taken to be in UTC. Numbers count from 1970, in the unit that puts them nearest to today.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Up to each limit a number is of that many microseconds: seconds until the year 5138, milliseconds, micro, nano.
_UNITS = ((10**11, 10**6), (10**14, 10**3), (10**17, 1))
_NANOSECONDS = 1_000
_FARTHEST = 10**20
_DOTNET = re.compile(r"/Date\((-?\d{1,15})(?:[+-]\d{4})?\)/")
_NUMBER = re.compile(r"[+-]?\d{1,20}(\.\d{1,20})?")
_LONGEST = 100
_ISO = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d|\d{4}/\d\d/\d\d|\d{8})"
    r"(?:(?:[Tt ]|\s+)(?P<time>\d\d(?::?\d\d){0,2})(?:[.,](?P<fraction>\d{1,12}))?)?"
    r"(?:\s*(?P<zone>[Zz]|UTC|GMT|utc|gmt|[+-]\d\d(?::?\d\d)?(?::?\d\d)?)"
    r"(?:\s*(?:\[[A-Za-z0-9_+/-]+\]|[A-Z]{3,4}))?)?"  # a name beside it, as Java and Go write it
    r"(?:\s+m=[+-][\d.]+)?"  # Go's monotonic clock
)
_COMMENT = re.compile(r"\([^()]*\)")
_OF_UTC = re.compile(r"\b(?:GMT|UTC)(?=[+-]\d{4}\b)")
_HALF_OF_DAY = re.compile(r"(?<=\d)\s*([AaPp])\.?[Mm]\b\.?")
_WORD = re.compile(r"[^\W\d_]+")
# Days, months, and the zones that the standard library knows.
_KNOWN_WORD = re.compile(
    r"(?:mon|tue|wed|thu|fri|sat|sun|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*|utc?|gmt|z|[ecmp][sd]t",
    re.IGNORECASE,
)


def read_moment(value: Any) -> datetime:
    """A time in UTC.

    Args:
        value: a time or a date of Python's; seconds, milliseconds, microseconds or nanoseconds since 1970, as a number
            or its digits; ISO 8601 and RFC 3339 with their usual liberties; RFC 2822; `{"$date": …}` as MongoDB
            exports it; `{"seconds": …, "nanos": …}` as protobuf does; .NET's `/Date(…)/`; PHP's date
            beside its zone.

    Raises:
        ValueError: it is none of these, or not within Python's calendar.
    """
    try:
        return _read(value)
    except (ArithmeticError, TypeError, AttributeError, ValueError) as error:
        raise ValueError("not a time") from error


def moment_or_none(value: Any) -> datetime | None:
    """See `read_moment`; None of None."""
    return None if value is None else read_moment(value)


def _read(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, str):
        return _of_text(value.strip())
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _of_number(value)
    if isinstance(value, Mapping):
        return _of_mapping(value)
    raise ValueError("not a time")


def _of_mapping(value: Mapping[str, Any]) -> datetime:
    if "$date" in value:
        inner = value["$date"]
        if isinstance(inner, Mapping):
            inner = inner.get("$numberLong")
        # Extended JSON counts milliseconds, also of days near 1970.
        is_count = isinstance(inner, str) and _NUMBER.fullmatch(inner)
        if is_count or (isinstance(inner, int | float) and not isinstance(inner, bool)):
            return _EPOCH + timedelta(milliseconds=int(inner))
        return _read(inner)
    if len(value) == 1 and (name := next(iter(value))) in ("$numberLong", "$numberInt", "$numberDouble"):
        return _read(value[name])
    if value.keys() == {"date", "timezone_type", "timezone"}:
        return _read(f"{value['date']} {value['timezone']}")
    for seconds, nanos in (("seconds", "nanos"), ("_seconds", "_nanoseconds"), ("seconds", "nanoseconds")):
        if seconds in value and value.keys() <= {seconds, nanos}:
            return _EPOCH + timedelta(seconds=int(value[seconds]), microseconds=int(value.get(nanos, 0)) // 1_000)
    raise ValueError("not a time")


def _of_number(value: float) -> datetime:
    if not isfinite(value) or abs(value) >= _FARTHEST:
        raise ValueError("not a time")
    for limit, microseconds in _UNITS:
        if abs(value) < limit:
            # Whole and broken parts apart: a float has no digits for both.
            whole = int(value)
            return _EPOCH + timedelta(microseconds=whole * microseconds + round((value - whole) * microseconds))
    return _EPOCH + timedelta(microseconds=int(value) // _NANOSECONDS)


def _of_text(text: str) -> datetime:
    if len(text) > _LONGEST:
        raise ValueError("not a time")
    if text[4:5] == "-" and len(text) > len("2026-01-02"):
        with suppress(ValueError):  # the usual form, read fast
            return _read(datetime.fromisoformat(text))
    if (found := _DOTNET.fullmatch(text)) is not None:
        return _EPOCH + timedelta(milliseconds=int(found[1]))
    found = _ISO.fullmatch(text)
    if found is not None and not (text.isdecimal() and len(text) != len("20260101")):
        return _of_iso(found)
    if _NUMBER.fullmatch(text):
        return _of_number(float(text) if "." in text else int(text))
    return _read(_of_mail(text))


def _of_mail(text: str) -> datetime:
    """A date with names of months, as mails, JavaScript and people write it.

    The standard library overlooks what it does not know: which half of a day it is, JavaScript's `GMT+0200`, the names
    of most zones. A time that is hours off would be worse than none.
    """
    text = _OF_UTC.sub("", _COMMENT.sub("", text))
    half = _HALF_OF_DAY.search(text)
    text = _HALF_OF_DAY.sub(" ", text)
    if not all(map(_KNOWN_WORD.fullmatch, _WORD.findall(text))):
        raise ValueError("not a time")
    moment = parsedate_to_datetime(text)
    if half is None:
        return moment
    if not 1 <= moment.hour <= 12:
        raise ValueError("not a time")
    return moment.replace(hour=moment.hour % 12 + 12 * (half[1] in "pP"))


def _of_iso(found: re.Match[str]) -> datetime:
    day, time, fraction, zone = found.group("day", "time", "fraction", "zone")
    day = day.replace("-", "").replace("/", "")
    digits = (time or "").replace(":", "").ljust(6, "0")
    hour, minute, second = int(digits[:2]), int(digits[2:4]), int(digits[4:6])
    # The last second of a day may be its 61st, and midnight may end a day.
    if hour > 24 or minute > 59 or second > 60 or (hour == 24 and (minute or second)):
        raise ValueError("not a time")
    moment = datetime(int(day[:4]), int(day[4:6]), int(day[6:]), tzinfo=UTC)
    moment += timedelta(hours=hour, minutes=minute, seconds=second)
    moment += timedelta(microseconds=int((fraction or "").ljust(6, "0")[:6] or 0))
    return moment - _offset(zone or "")


def _offset(zone: str) -> timedelta:
    if zone[:1] not in ("+", "-"):
        return timedelta(0)
    digits = zone[1:].replace(":", "").ljust(6, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:4]), seconds=int(digits[4:6]))
    if offset >= timedelta(days=1):
        raise ValueError("not a time")
    return -offset if zone[0] == "-" else offset
