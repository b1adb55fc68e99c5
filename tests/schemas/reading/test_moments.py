"""Times as producers, databases and mail write them: each form has its value, and nonsense is none."""

import json
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.reading.moments import moment_or_none, read_moment

MOMENT = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
SECONDS = 1_700_000_000
FORMS: list[tuple[Any, datetime]] = [
    (SECONDS, MOMENT),
    (SECONDS * 10**3, MOMENT),
    (SECONDS * 10**6, MOMENT),
    (SECONDS * 10**9, MOMENT),
    (str(SECONDS), MOMENT),
    (str(SECONDS * 10**9), MOMENT),
    (SECONDS + 0.5, MOMENT + timedelta(seconds=0.5)),
    (SECONDS * 1_000.0, MOMENT),
    ("1355517523.000005", datetime(2012, 12, 14, 20, 38, 43, 5, tzinfo=UTC)),
    (-1, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
    (0, datetime(1970, 1, 1, tzinfo=UTC)),
    ("2023-11-14T22:13:20Z", MOMENT),
    ("2023-11-14t22:13:20z", MOMENT),
    ("2023-11-14T22:13:20.000000000Z", MOMENT),
    ("2023-11-14T22:13:20.1234567Z", MOMENT + timedelta(microseconds=123_456)),
    ("2023-11-14T22:13:20,5Z", MOMENT + timedelta(seconds=0.5)),
    ("2023-11-14T23:13:20+01:00", MOMENT),
    ("2023-11-14T23:13:20+0100", MOMENT),
    ("2023-11-14 23:13:20+01", MOMENT),
    ("2023-11-14 22:13:20+00", MOMENT),
    ("2023-11-14 22:13:20.000+00", MOMENT),
    ("2023-11-14 22:13:20 UTC", MOMENT),
    ("2023-11-14 22:13:20.123456 UTC", MOMENT + timedelta(microseconds=123_456)),
    ("2023-11-14 22:13:20 GMT", MOMENT),
    ("2023-11-14 22:13:20 +0000 UTC", MOMENT),
    ("2023-11-14 23:13:20 +0100 CET m=+0.0123", MOMENT),
    ("2023-11-14T23:13:20+01:00[Europe/Paris]", MOMENT),
    ("2023-11-14T22:13:20Z[UTC]", MOMENT),
    ("20231114T221320Z", MOMENT),
    ("2023-11-14 22:13:20", MOMENT),
    ("2023-11-14T22:13", MOMENT - timedelta(seconds=20)),
    ("2023/11/14 22:13:20", MOMENT),
    ("2023-11-14", datetime(2023, 11, 14, tzinfo=UTC)),
    ("20231114", datetime(2023, 11, 14, tzinfo=UTC)),
    (" 2023-11-14T22:13:20Z ", MOMENT),
    ("2023-11-14T24:00:00Z", datetime(2023, 11, 15, tzinfo=UTC)),
    ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
    ("Tue, 14 Nov 2023 22:13:20 GMT", MOMENT),
    ("Tue, 14 Nov 2023 23:13:20 +0100", MOMENT),
    ("14 Nov 2023 22:13:20 -0000", MOMENT),
    ("Tue Nov 14 22:13:20 2023", MOMENT),
    ("Tue Nov 14 2023 23:13:20 GMT+0100 (Central European Standard Time)", MOMENT),
    ("Tue Nov 14 2023 15:13:20 GMT-0700", MOMENT),
    ("Tue, 14 Nov 2023 17:13:20 -0500 (EST)", MOMENT),
    ("Tue, 14 Nov 2023 17:13:20 EST", MOMENT),
    ("Nov 14, 2023, 10:13:20 PM", MOMENT),
    ("Nov 14, 2023, 10:13:20\u202fp.m.", MOMENT),
    ("14 Nov 2023 12:13:20 AM", MOMENT - timedelta(hours=22)),
    ("14 November 2023 12:13PM", datetime(2023, 11, 14, 12, 13, tzinfo=UTC)),
    ({"$date": "2023-11-14T22:13:20Z"}, MOMENT),
    ({"$date": SECONDS * 1_000}, MOMENT),
    ({"$date": {"$numberLong": str(SECONDS * 1_000)}}, MOMENT),
    ({"$date": 1}, datetime(1970, 1, 1, 0, 0, 0, 1_000, tzinfo=UTC)),
    ({"seconds": SECONDS, "nanos": 5_000}, MOMENT + timedelta(microseconds=5)),
    ({"_seconds": str(SECONDS), "_nanoseconds": 0}, MOMENT),
    (MOMENT, MOMENT),
    (MOMENT.replace(tzinfo=None), MOMENT),
    (MOMENT.astimezone(timezone(timedelta(hours=-7))), MOMENT),
    (date(2023, 11, 14), datetime(2023, 11, 14, tzinfo=UTC)),
]
UNREADABLE: list[Any] = [
    "", "now", "at noon", "2023-02-30", "2023-13-01", "20231314", "0000-00-00 00:00:00", "2023-11-14 22:13:20 PM",
    "2023-11-14 22:13:20 PST",
    "Tue Nov 14 22:13:20 CET 2023", "14 Nov 2023 22:13:20 PM", "14 Nov 2023 22:13:20 Q",
    "9999-12-31T24:00:00Z", "0001-01-01T00:00:00+05:00", "2023-11-14T25:00:00Z",
    "2023-11-14T22:13:20+99:00", "1" * 30, "2023-W46-2", True, float("nan"), float("inf"), 10**20, 10**400, -(10**30),
    [2023, 11, 14], {}, {"$date": None}, {"$date": {}}, {"$date": True}, {"seconds": "soon"}, {"seconds": 1, "of": 1},
    b"2023-11-14", Ellipsis, "x" * 100_000, "9" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize(("value", "moment"), FORMS, ids=[repr(form) for form, _ in FORMS])
def test_each_form_has_its_value_in_utc(value: Any, moment: datetime) -> None:
    read = read_moment(value)

    assert read == moment
    assert read.tzinfo is UTC


@pytest.mark.parametrize("value", UNREADABLE, ids=[repr(value)[:40] for value in UNREADABLE])
def test_what_is_no_time_is_none(value: Any) -> None:
    with pytest.raises(ValueError, match="not a time"):
        read_moment(value)


@given(st.datetimes(min_value=datetime(1902, 1, 1), max_value=datetime(2100, 1, 1)))
def test_a_time_is_the_same_however_it_is_written(naive: datetime) -> None:
    moment = naive.replace(tzinfo=UTC, microsecond=naive.microsecond // 1000 * 1000)
    micro = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    forms = [moment.isoformat(), str(moment), f"{moment:%Y-%m-%d %H:%M:%S.%f} UTC", {"$date": micro // 1000}]
    if abs(micro) >= 10**14:  # a count of units is told by its size
        forms += [micro, micro * 1000]

    for form in forms:
        assert read_moment(form) == moment


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["$date", "seconds", "nanos"]), inner),
    max_leaves=4,
)


@given(JSON)
def test_whatever_comes_is_a_time_or_a_value_error(value: Any) -> None:
    json.dumps(value)
    try:
        moment = moment_or_none(value)
    except ValueError:
        return
    assert moment is None or moment.tzinfo is UTC
