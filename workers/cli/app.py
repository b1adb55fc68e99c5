"""The entry point of `weir`: turns errors into one line.

Does no work of its own, and imports no command before it is called.
"""

from typing import Annotated, Any

import typer

from schemas.errors import ModerationError
from workers.cli.entry.commands import LazyGroup
from workers.extras import extras_named

ERROR_CODE = 2


class _OneLineErrors(LazyGroup):
    """Prints what a user can put right as one line; anything else is a fault of ours and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with extras_named():
                return super().invoke(ctx)
        except ModerationError as error:
            from workers.cli.terminal import plain  # takes a while, as the commands do

            typer.echo(plain(f"weir: {'; '.join(str(error).splitlines())}"), err=True)
            raise typer.Exit(ERROR_CODE) from None


app = typer.Typer(
    cls=_OneLineErrors,
    no_args_is_help=True,
    rich_markup_mode=None,  # its boxes cost half of the time that `weir --help` takes
    # A pretty traceback shows local variables, and so the messages of a chat.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"weir {version('weir-moderation')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Weir: chat moderation, Kafka in, verdicts out, no message lost."""


def main() -> None:
    """Run the command line."""
    app()
