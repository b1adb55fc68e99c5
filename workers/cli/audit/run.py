"""`weir audit run`: judge history, files or a range of a topic, into a folder of Parquet.

The work is done by `workers.audit`.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workers.cli.option_objects import with_objects
from workers.cli.options import AsJson, Config, Delimiter, Encoding, Escape, Model, Quote, by_name
from workers.cli.terminal import NOTHING_JUDGED, progress_bar, show_json
from workers.extras import need
from workers.settings.loading import load_settings, prepare_ray
from workers.telemetry.log import configure_logging

if TYPE_CHECKING:
    from workers.audit.order import AuditOrder
    from workers.audit.source import AuditInput


@dataclass(frozen=True)
class _SourceOptions:
    """What is read."""

    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[INPUT]...",
            help="Files, folders, globs, URIs: .parquet, .jsonl, .json, .csv, .tsv, .arrow, .feather; text also .gz,"
            " .zst, .bz2, .xz.",
        ),
    ] = None
    topic: Annotated[str | None, typer.Option(help="Events of this topic, in place of files.")] = None
    begin: Annotated[
        str | None,
        typer.Option("--from", help="Of the topic: an ISO 8601 time, an age (24h), an offset, or 0:OFFSET,1:OFFSET…"),
    ] = None
    end: Annotated[str | None, typer.Option("--to", help="Up to, not including; as --from. Default: now.")] = None
    mapped: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="FIELD=COLUMN",
            help="text, messages, answer, role, conversation, tenant, time, id, language. A column may be nested:"
            " text=message.body, or a folder's: tenant=org, of org=kids/.",
        ),
    ] = None
    mapping: Annotated[Path | None, typer.Option(help="YAML file with the same: `text: body`.")] = None
    form: Annotated[
        str | None,
        typer.Option("--format", help="A known form of log: lmsys, wildchat, sharegpt, openai, slack or discord."),
    ] = None
    turns: Annotated[
        str | None,
        typer.Option(
            help="Of a row that holds a conversation: last, users, or all. Default: last; of lmsys, wildchat, sharegpt"
            " and openai all."
        ),
    ] = None
    stratify: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Each value of the column keeps its share of the sample, to the row, and has one row at least; so a"
            " percentage of each value is exact. Up to 10,000 values.",
        ),
    ] = None
    block_rows: Annotated[
        int, typer.Option(min=1, help="Rows that are done as a whole: what is done again if an actor dies.")
    ] = 4_096
    delimiter: Delimiter = None
    quote: Quote = None
    escape: Escape = None
    encoding: Encoding = None

    def source(self) -> "AuditInput":
        """The same for the library."""
        from workers.audit.rows.columns import read_mapping
        from workers.audit.source import AuditInput
        from workers.files.csv_dialect import DialectAsked

        given = {} if self.mapping is None else read_mapping(self.mapping)
        columns = {**given, **by_name(self.mapped, "--map", "FIELD=COLUMN")}
        dialect = DialectAsked(self.delimiter, self.quote, self.escape, self.encoding)
        return AuditInput(
            self.inputs or [],
            self.topic,
            self.begin,
            self.end,
            columns,
            self.stratify,
            self.block_rows,
            dialect,
            self.form,
            self.turns,
        )


@dataclass(frozen=True)
class _JudgingOptions:
    """How much of it is judged, by how many, and where verdicts go."""

    into: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Folder to write: a path, or a URI that pyarrow knows (s3://…, gs://…)."),
    ] = None
    sample: Annotated[
        str | None,
        typer.Option(help="Judge so many rows only: 1000; or such a share: 2.5%, of which every row has that chance."),
    ] = None
    since_run: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Leave out what that run has judged with the same model and policy."),
    ] = None
    on_application: Annotated[
        bool, typer.Option("--on-application", help="Judge on the replicas of `weir run`, behind its live traffic.")
    ] = False
    actors: Annotated[int | None, typer.Option(min=1, help="Processes that judge; default: guard.replicas.")] = None
    rate: Annotated[float | None, typer.Option(min=0.01, help="Rows a second at most, over all actors.")] = None
    answers: Annotated[
        int, typer.Option("--cache-size", min=0, help="Answers that an actor keeps for texts that come again.")
    ] = 65_536
    keep_text: Annotated[bool, typer.Option("--keep-text", help="Write the judged texts into the verdicts.")] = False

    def order(self, source: "AuditInput") -> "AuditOrder":
        """The same for the library."""
        from workers.audit.order import AuditOrder

        return AuditOrder(
            source=source,
            into=self.into,
            sample=self.sample,
            since_run=self.since_run,
            on_application=self.on_application,
            actors=self.actors,
            rate=self.rate,
            cache_size=self.answers,
            keep_text=self.keep_text,
        )


@with_objects
def run(
    source: _SourceOptions,
    judging: _JudgingOptions,
    model: Model = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many rows, tokens and hours it would be.")
    ] = False,
    gpu: Annotated[str, typer.Option(help="Of --dry-run: as `weir plan` has it.")] = "h200",
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Judge old messages as live ones are judged, once each: verdicts and dead letters as Parquet, with a manifest.

    Killed at any moment and started again with the same arguments, it goes on; at most one block of each actor is done
    again. A finished run is never overwritten, and of two that write to one folder the second is refused.
    Exits with 3 if no row got a verdict.
    """
    need("jinja2", "pandas", "pyarrow", "ray")
    settings = load_settings(config).with_model(model)
    prepare_ray()
    configure_logging(settings.telemetry.log_level)
    from workers.audit.order import begun, estimated, finished  # Ray reads its environment when imported
    from workers.cli.audit.progress import AuditBar, show_estimate, show_finished

    order = judging.order(source.source())
    if dry_run:
        with progress_bar("files", quiet=as_json) as progress:
            found = estimated(settings, order, gpu, progress)
        show_json(found) if as_json else show_estimate(found)
        return
    with ExitStack() as held:
        with progress_bar("files", quiet=as_json) as progress:
            audit = held.enter_context(begun(settings, order, progress))
        with AuditBar(audit.rows, audit.markers, quiet=as_json) as bar:
            manifest = finished(audit, settings, order, bar.told, logs=not as_json)
    show_json(manifest.model_dump(mode="json")) if as_json else show_finished(str(judging.into), manifest)
    if not manifest.counts.verdicts:
        raise typer.Exit(NOTHING_JUDGED)
