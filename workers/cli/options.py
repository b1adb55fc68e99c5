"""Options that several commands take, and how their values are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.reasons import Reason, Stage
from workers.kafka.moments import milliseconds_of
from workers.settings.loading import Settings, load_settings

if TYPE_CHECKING:
    from workers.tools.dead_letters.dead_letters import Filters


def time_option(text: str) -> int:
    """Milliseconds since the epoch of a time that an option gives.

    Raises:
        BadParameter: neither an age nor ISO 8601.
    """
    try:
        return milliseconds_of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def by_name(pairs: Sequence[str] | None, option: str, form: str) -> dict[str, str]:
    """What a repeatable option of the form NAME=VALUE gives.

    Args:
        pairs: its values; None: not given.
        option: its name.
        form: what its help calls NAME=VALUE.

    Raises:
        BadParameter: another form, or a name given twice.
    """
    values: dict[str, str] = {}
    for pair in pairs or ():
        name, found, value = pair.partition("=")
        if not found or not value:
            raise typer.BadParameter(f"{pair}: not {form}", param_hint=option)
        if name in values:
            raise typer.BadParameter(f"{name}: given twice", param_hint=option)
        values[name] = value
    return values


def load_for(config: Path | None, topic: str | None) -> Settings:
    """Settings, with another dead-letter topic where one is given.

    Raises:
        ConfigurationError: a wrong setting, or a topic of events or verdicts.
    """
    return load_settings(config) if topic is None else load_settings(config, topics={"dead_letters": topic})


Config = Annotated[
    Path | None, typer.Option("--config", help="Settings file, in place of WEIR_CONFIG or ./weir.yaml.", metavar="PATH")
]
Delimiter = Annotated[
    str | None, typer.Option(help="Of CSV and TSV: a character, or tab. Default: what fits a file's beginning.")
]
Quote = Annotated[str | None, typer.Option(help="Of CSV and TSV: a character, or none; default as of --delimiter.")]
Escape = Annotated[
    str | None, typer.Option(help="Of CSV and TSV: a character before quotes, or none; default as of --delimiter.")
]
Encoding = Annotated[
    str | None, typer.Option(help="Of text files, as Python names it. Default: as their first bytes say, or UTF-8.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Model = Annotated[
    str | None, typer.Option(help="Hub name, folder, or demo (not a safety classifier); default: guard.model.")
]
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
OfTopic = Annotated[
    str | None,
    typer.Option("--topic", help="Another dead-letter topic, as that of another tool, or a parking topic."),
]


@dataclass(frozen=True)
class LetterOptions:
    """Options that choose among dead letters."""

    reason: Annotated[Reason | None, typer.Option("--reason", help="Only this reason.")] = None
    stage: Annotated[Stage | None, typer.Option("--stage", help="Only this stage.")] = None
    tenant: Annotated[
        str | None, typer.Option("--tenant", help="Only events of this tenant, where it can be read.", metavar="NAME")
    ] = None
    model_revision: Annotated[
        str | None,
        typer.Option(
            "--model-revision", help="Only letters that this revision of the model gave rise to.", metavar="NAME"
        ),
    ] = None
    since: Since = None
    until: Until = None

    def filters(self) -> "Filters":
        """The same for the library."""
        from workers.tools.dead_letters.dead_letters import Filters  # kafka-python takes half a second

        return Filters(self.reason, self.stage, self.tenant, self.since, self.until, self.model_revision)
