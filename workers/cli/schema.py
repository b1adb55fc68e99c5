"""`weir schema`: the contract as documents for other teams.

The documents are made by `schemas.documents`.
"""

from typing import Annotated

import typer

from schemas.documents import documents
from schemas.errors import ConfigurationError
from workers.cli.options import AsJson
from workers.cli.terminal import show_json


def schema(
    name: Annotated[str | None, typer.Argument(help="Document to print; without it, their names are.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print a JSON Schema of the topics, or the AsyncAPI document; without a name, which there are.

    With --json and no name: all of them, as one object by name.
    """
    texts = documents()
    if name is None:
        if as_json:
            show_json(texts)
        else:
            typer.echo("\n".join(texts))
        return
    chosen = [text for file, text in texts.items() if name in (file, file.partition(".")[0])]
    if not chosen:
        raise ConfigurationError(f"{name}: no such document; there are {', '.join(texts)}")
    if as_json and not chosen[0].startswith("{"):
        show_json({name: chosen[0]})
    else:
        typer.echo(chosen[0], nl=False)
