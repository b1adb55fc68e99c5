"""Options that several commands take, and how their values are read.

Does not load settings.
"""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

AGE = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def milliseconds_of(text: str) -> int:
    """A point in time, `2026-11-21T08:00:00Z` or an age such as `90m`, in milliseconds since the epoch.

    Raises:
        BadParameter: in neither form.
    """
    if (age := AGE.fullmatch(text)) is not None:
        moment = datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise typer.BadParameter(f"{text}: neither an age (90m, 12h, 7d) nor an ISO 8601 time") from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


Config = Annotated[
    Path | None, typer.Option("--config", help="Settings file, in place of WEIR_CONFIG or ./weir.yaml.", metavar="PATH")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Since = Annotated[
    int | None,
    typer.Option(
        "--since",
        parser=milliseconds_of,
        metavar="TIME",
        help="Only from then on: ISO 8601 (UTC if it says none), or an age: 90m, 12h, 7d.",
    ),
]
Until = Annotated[
    int | None,
    typer.Option("--until", parser=milliseconds_of, metavar="TIME", help="Only what is older, in the same forms."),
]
