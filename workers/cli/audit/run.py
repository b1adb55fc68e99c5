"""`weir audit run`: judge history, files or a range of a topic, into a folder of Parquet.

The work is done by `workers.audit`.
"""

from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from schemas.errors import ConfigurationError
from workers.cli.options import AsJson, Config
from workers.cli.terminal import progress_bar, show_json
from workers.settings.loading import Settings, load_settings, otel_variables, prepare_ray, ray_address
from workers.telemetry.log import configure_logging

BLOCK_ROWS = 4_096
ANSWERS_KEPT = 65_536


def run(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[INPUT]...",
            help="Files, folders, globs, URIs: .parquet, .jsonl, .csv, .tsv, .arrow, .feather; text also .gz, .zst.",
        ),
    ] = None,
    into: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Folder to write: a path, or a URI that pyarrow knows (s3://…, gs://…)."),
    ] = None,
    topic: Annotated[str | None, typer.Option(help="Events of this topic, in place of files.")] = None,
    begin: Annotated[
        str | None,
        typer.Option("--from", help="Of the topic: an ISO 8601 time, an age (24h), an offset, or 0:OFFSET,1:OFFSET…"),
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Up to, not including; as --from. Default: now.")] = None,
    mapped: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="FIELD=COLUMN", help="text, messages, role, conversation, tenant, time, id, language."
        ),
    ] = None,
    mapping: Annotated[Path | None, typer.Option(help="YAML file with the same: `text: body`.")] = None,
    sample: Annotated[
        str | None,
        typer.Option(help="Judge so many rows only: 1000; or such a share: 2.5%, of which every row has that chance."),
    ] = None,
    stratify: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Each value of the column keeps its share of the sample, to the row, and has one row at least; so a"
            " percentage of each value is exact. Up to 10,000 values.",
        ),
    ] = None,
    since_run: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Leave out what that run has judged with the same model and policy."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Hub name, folder, or demo; default: guard.model.")] = None,
    on_application: Annotated[
        bool, typer.Option("--on-application", help="Judge on the replicas of `weir run`, behind its live traffic.")
    ] = False,
    actors: Annotated[int | None, typer.Option(min=1, help="Processes that judge; default: guard.replicas.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.01, help="Rows a second at most, over all actors.")] = None,
    block_rows: Annotated[
        int, typer.Option(min=1, help="Rows that are done as a whole: what is done again if an actor dies.")
    ] = BLOCK_ROWS,
    answers: Annotated[
        int, typer.Option("--cache-size", min=0, help="Answers that an actor keeps for texts that come again.")
    ] = ANSWERS_KEPT,
    keep_text: Annotated[bool, typer.Option("--keep-text", help="Write the judged texts into the verdicts.")] = False,
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
    """
    settings = _settings(config, model)
    prepare_ray()
    configure_logging(settings.telemetry.log_level)
    _need_ray_data()
    # Here and not above: Ray, pyarrow and Kafka's client take seconds that `weir --help` must not.
    from workers.audit.actors import Pool, ray_for
    from workers.audit.estimate import estimate
    from workers.audit.lane import ApplicationReplicas, OwnEngine, used_policy
    from workers.audit.run import Asked, AuditRun
    from workers.audit.run_lock import driving
    from workers.audit.source import Source
    from workers.audit.source import sample as taken
    from workers.cli.audit.progress import AuditBar, show_estimate, show_finished

    source = Source(inputs or [], topic, begin, end, _mapping(mapped or [], mapping), stratify, block_rows)
    guard = settings.guard
    count = actors or guard.replicas
    with ExitStack() as held:
        # Before the inputs are read, which may take hours.
        still_ours = None if dry_run or into is None else held.enter_context(driving(into))
        with progress_bar("files", quiet=as_json) as progress:
            plan, columns = source.plan(settings, into, progress)
        if dry_run:
            estimated = estimate(settings, plan, columns, taken(sample, plan, columns), count, rate, gpu)
            if since_run is not None:
                estimated["at_most"] = (
                    "what --since-run leaves out is not taken off: only a run knows the model's digests"
                )
            show_json(estimated) if as_json else show_estimate(estimated)
            return
        if into is None or still_ours is None:
            raise ConfigurationError("--into: the folder to write the run to is needed")
        asked = Asked(
            run=into,
            plan=plan,
            columns=columns,
            sample=taken(sample, plan, columns),
            since_run=since_run,
            policy=used_policy(settings),
            block_rows=block_rows,
            keep_text=keep_text,
            cache_size=answers,
            rate=rate,
            max_event_bytes=settings.limits.max_event_bytes,
        )
        audit = AuditRun(asked, still_ours)
        # On the application's replicas an actor only reads, asks and writes.
        pool = Pool(count, 1.0, 0.0) if on_application else Pool(count, guard.cpus_per_replica, guard.gpus_per_replica)
        factory = ApplicationReplicas(settings) if on_application else OwnEngine(settings)
        address = ray_address() or ("auto" if on_application else None)
        with (
            ray_for(address, pool, otel_variables(), logs=not as_json),
            AuditBar(plan.rows, audit.markers, quiet=as_json) as bar,
        ):
            manifest = audit.execute(factory, pool, bar.told)
    show_json(manifest.model_dump(mode="json")) if as_json else show_finished(into, manifest)


def _settings(config: Path | None, model: str | None) -> Settings:
    settings = load_settings(config)
    if model is None:
        return settings
    return settings.model_copy(update={"guard": settings.guard.model_copy(update={"model": model, "revision": None})})


def _mapping(pairs: list[str], path: Path | None) -> dict[str, str]:
    from workers.audit.rows.columns import read_mapping

    given: dict[str, str] = {}
    for pair in pairs:
        field, found, column = pair.partition("=")
        if not found or not column:
            raise typer.BadParameter(f"{pair}: not FIELD=COLUMN", param_hint="--map")
        if field in given:
            raise typer.BadParameter(f"{field}: given twice", param_hint="--map")
        given[field] = column
    return {**({} if path is None else read_mapping(path)), **given}


def _need_ray_data() -> None:
    for name in ("pandas", "pyarrow"):  # what Ray Data needs and Ray Serve does not have
        if find_spec(name) is None:
            raise ConfigurationError(f"{name} is missing: pip install 'weir-moderation[audit]'")
