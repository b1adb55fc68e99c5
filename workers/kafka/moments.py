"""Points in time as operators write them: ISO 8601, or an age.

Does not look up offsets.
"""

import re
from datetime import UTC, datetime, timedelta

AGE = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def milliseconds_of(text: str) -> int:
    """A point in time, `2026-11-21T08:00:00Z` or an age such as `90m`, in milliseconds since the epoch.

    Raises:
        ValueError: in neither form.
    """
    if (age := AGE.fullmatch(text)) is not None:
        moment = datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{text}: neither an age (90m, 12h, 7d) nor an ISO 8601 time") from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)
