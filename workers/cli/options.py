"""Options that several commands take, and how their values are read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from schemas.reasons import Reason, Stage
from workers.kafka.moments import milliseconds_of
from workers.settings.loading import Settings, load_settings


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
# Which dead letters, and of which topic.
OfReason = Annotated[Reason | None, typer.Option("--reason", help="Only this reason.")]
OfStage = Annotated[Stage | None, typer.Option("--stage", help="Only this stage.")]
OfTenant = Annotated[
    str | None, typer.Option("--tenant", help="Only events of this tenant, where it can be read.", metavar="NAME")
]
OfRevision = Annotated[
    str | None,
    typer.Option("--model-revision", help="Only letters that this revision of the model gave rise to.", metavar="NAME"),
]
OfTopic = Annotated[
    str | None,
    typer.Option("--topic", help="Another dead-letter topic, as that of another tool, or a parking topic."),
]
