"""Options that the commands on dead letters share: which letters, and of which topic."""

from pathlib import Path
from typing import Annotated

import typer

from schemas.reasons import Reason, Stage
from workers.settings.loading import Settings, load_settings

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


def load_for(config: Path | None, topic: str | None) -> Settings:
    """Settings, with another dead-letter topic where one is given.

    Raises:
        ConfigurationError: a wrong setting, or a topic of events or verdicts.
    """
    return load_settings(config) if topic is None else load_settings(config, topics={"dead_letters": topic})
