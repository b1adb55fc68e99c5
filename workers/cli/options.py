"""Options that several commands take, and how their values are read.

Does not load settings.
"""

from pathlib import Path
from typing import Annotated

import typer

from workers.kafka.moments import milliseconds_of


def time_option(text: str) -> int:
    """Milliseconds since the epoch of a time that an option gives.

    Raises:
        BadParameter: neither an age nor ISO 8601.
    """
    try:
        return milliseconds_of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Config = Annotated[
    Path | None, typer.Option("--config", help="Settings file, in place of WEIR_CONFIG or ./weir.yaml.", metavar="PATH")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Since = Annotated[
    int | None,
    typer.Option(
        "--since",
        parser=time_option,
        metavar="TIME",
        help="Only from then on: ISO 8601 (UTC if it says none), or an age: 90m, 12h, 7d.",
    ),
]
Until = Annotated[
    int | None,
    typer.Option("--until", parser=time_option, metavar="TIME", help="Only what is older, in the same forms."),
]
