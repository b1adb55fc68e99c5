"""The entry point of `weir`: registers the commands and turns errors into one line.

Does no work of its own.
"""

from importlib.metadata import version as version_of
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from schemas.errors import ModerationError
from workers.cli import breaker, check, classify, demo, plan, run, schema, shadow, top, topics, trace, verify
from workers.cli.audit import audit
from workers.cli.bench import bench
from workers.cli.dlq import dlq
from workers.cli.eval import eval as evaluation
from workers.cli.terminal import plain

ERROR_CODE = 2


class _OneLineErrors(TyperGroup):
    """Prints what a user can put right as one line; anything else is a fault of ours and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ModerationError as error:
            typer.echo(plain(f"weir: {'; '.join(str(error).splitlines())}"), err=True)
            raise typer.Exit(ERROR_CODE) from None


app = typer.Typer(
    cls=_OneLineErrors,
    no_args_is_help=True,
    # A pretty traceback shows local variables, and so the messages of a chat.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo.demo)
app.command()(run.run)
app.command()(run.serve)
app.command()(check.check)
app.command()(classify.classify)
app.command()(verify.verify)
app.command()(trace.trace)
app.command()(top.top)
app.command()(schema.schema)
app.command()(plan.plan)
app.add_typer(topics.app, name="topics", help="Create the topics that the settings name, or show what differs.")
app.add_typer(breaker.app, name="breaker", help="See why a running worker has stopped releasing, and let it go on.")
app.add_typer(audit.app, name="audit", help="Judge history: files or a range of a topic, once and with a report.")
app.add_typer(shadow.app, name="shadow", help="See how a candidate compares with what was decided live.")
app.add_typer(bench.app, name="bench", help="Benchmarks, each beside its baseline.")
app.add_typer(dlq.app, name="dlq", help="Look at dead letters, put them back, delete them.")
app.add_typer(evaluation.app, name="eval", help="Measure how well a guard judges labelled files; compare runs.")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"weir {version_of('weir-moderation')}")
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
