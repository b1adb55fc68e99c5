"""`weir eval`: how well a guard judges labelled files, and whether one run is better than another.

The statistics are in `pipelines.evaluation`, the files in `workers.evaluation`, the tables in
`workers.cli.eval.tables`.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from pipelines.evaluation.binary import Bootstrap
from pipelines.evaluation.comparison import compare as compare_runs
from pipelines.evaluation.examples import NoVerdict, Prediction
from pipelines.evaluation.predicting import Predictor
from pipelines.evaluation.report import ReportOptions, evaluate
from pipelines.evaluation.reported import SIZES, size_of
from schemas.errors import ConfigurationError
from workers.cli.eval.tables import show_comparison, show_evaluation
from workers.cli.options import AsJson, Config
from workers.cli.terminal import progress_bar, show_json
from workers.evaluation.labelled_files import AUTO, FORMAT_NAMES, LabelledFiles
from workers.evaluation.labelled_rows import COLUMNS, Mapped
from workers.evaluation.prediction_files import PredictionWriter, RunRecord, read_predictions
from workers.guard.setup import judge_of, length_policy_of
from workers.settings.loading import Settings, load_settings

app = typer.Typer(no_args_is_help=True)
_WHOLE = "whole"
_SET = "set"

Resamples = Annotated[int, typer.Option(min=0, help="Bootstrap resamples behind each interval; 0: no intervals.")]
Level = Annotated[float, typer.Option(min=0.5, max=0.999, help="Coverage of the intervals.")]
Seed = Annotated[int, typer.Option(help="Of the resamples.")]
Rule = Annotated[
    NoVerdict,
    typer.Option(
        "--no-verdict",
        help="How an example without a verdict counts: wrong (whatever its label), unsafe, or left_out. Never as Safe.",
    ),
]
Bins = Annotated[int, typer.Option(min=2, help="Bins of the reliability curve.")]
Size = Annotated[
    str | None,
    typer.Option(
        help=f"Whose figures of the technical report to lay beside: {', '.join(SIZES)}; default: the model's."
    ),
]


@app.command()
def run(
    files: Annotated[list[Path], typer.Argument(help="JSONL, JSON, CSV, TSV or Parquet; .gz, .xz and .bz2 too.")],
    form: Annotated[
        str, typer.Option("--format", help=f"One of {', '.join(FORMAT_NAMES)}; auto goes by the columns.")
    ] = AUTO,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COLUMN", help=f"Where a file of your own has one of {', '.join(COLUMNS)}. Give several."
        ),
    ] = None,
    unsafe: Annotated[
        list[str] | None,
        typer.Option(metavar="VALUE", help="A label that means unsafe; then all others mean safe. Give several."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Hub name, folder, or demo (not a safety classifier); default: guard.model.")
    ] = None,
    size: Size = None,
    length: Annotated[
        str, typer.Option(help="whole: as published figures; set: by the length policy of the settings.")
    ] = _WHOLE,
    predictions: Annotated[
        Path | None, typer.Option(help="Write verdicts there, for `eval report` and `eval compare`; holds no text.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Judge only the first so many examples.")] = None,
    rule: Rule = NoVerdict.WRONG,
    bins: Bins = 10,
    resamples: Resamples = 1_000,
    level: Level = 0.95,
    seed: Seed = 1,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Judge labelled files with the engine in this process and print its figures.

    Decoding is greedy. Strict counts Controversial as unsafe, loose as safe. Formats, and what is left out of each:
    infra/runbooks/evaluation.md.
    """
    settings = _settings(config, model)
    if length not in (_WHOLE, _SET):
        raise typer.BadParameter(f"{length}: neither {_WHOLE} nor {_SET}", param_hint="--length")
    options = _options(settings.guard.model, size, rule, bins, Bootstrap(resamples, level, seed))
    labelled = LabelledFiles(files, form, Mapped(_columns(column or []), frozenset(unsafe or [])))
    with (
        PredictionWriter(predictions) if predictions else nullcontext() as writer,
        progress_bar("examples") as progress,
    ):
        record, judged = asyncio.run(_judge(settings, labelled, length, limit, writer, progress))
    evaluation = evaluate(judged, options)
    if as_json:
        show_json({"run": _plain(record), "skipped": dict(labelled.skipped), **_plain(evaluation)})
    else:
        show_evaluation(record, labelled.skipped, evaluation)


@app.command()
def report(
    predictions: Annotated[Path, typer.Argument(help="What `eval run --predictions` wrote.")],
    size: Size = None,
    rule: Rule = NoVerdict.WRONG,
    bins: Bins = 10,
    resamples: Resamples = 1_000,
    level: Level = 0.95,
    seed: Seed = 1,
    as_json: AsJson = False,
) -> None:
    """Print the figures of an earlier run again, without the model."""
    record, judged = read_predictions(predictions)
    options = _options(record.model, size, rule, bins, Bootstrap(resamples, level, seed))
    evaluation = evaluate(judged, options)
    if as_json:
        show_json({"run": _plain(record), "skipped": {}, **_plain(evaluation)})
    else:
        show_evaluation(record, {}, evaluation)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="Predictions of one run.")],
    second: Annotated[Path, typer.Argument(help="Predictions of the other.")],
    rule: Rule = NoVerdict.WRONG,
    listed: Annotated[int, typer.Option("--limit", min=0, help="Ids listed of examples whose severity changed.")] = 20,
    resamples: Resamples = 1_000,
    level: Level = 0.95,
    seed: Seed = 1,
    as_json: AsJson = False,
) -> None:
    """Compare two runs on the examples that both judged: F1, and McNemar's test on who is right where.

    Fewer than 25 examples on which only one is right: the exact test; from 25 on chi-square with Edwards' correction.
    """
    (record, judged), (other_record, others) = read_predictions(first), read_predictions(second)
    comparison = compare_runs(judged, others, rule, Bootstrap(resamples, level, seed), listed)
    if as_json:
        show_json({"first": _plain(record), "second": _plain(other_record), **_plain(comparison)})
    else:
        show_comparison(record, other_record, comparison)


async def _judge(
    settings: Settings,
    labelled: LabelledFiles,
    length: str,
    limit: int | None,
    writer: PredictionWriter | None,
    progress: Callable[[int, int | None], None],
) -> tuple[RunRecord, list[Prediction]]:
    from workers.serving.engine_choice import load_engine  # here and not above: `weir --help` must not wait for torch
    from workers.serving.local_guard import LocalGuard

    examples = islice(labelled.read(), limit)
    first = next(examples, None)
    if first is None:
        raise ConfigurationError("the files hold no labelled example")  # before minutes of loading
    policy = length_policy_of(settings.length) if length == _SET else None
    engine = load_engine(settings.guard)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    predictor = Predictor(judge_of(settings, LocalGuard(engine)), policy, settings.guard.batch_size)

    def record() -> RunRecord:
        return RunRecord(
            "1.0",
            version("weir-moderation"),
            started,
            settings.guard.model,
            settings.guard.engine,
            settings.guard.score_temperature if settings.guard.engine == "one_pass" else None,
            policy.signature if policy else _WHOLE,
            "greedy",
            predictor.provenance,
            dict(labelled.forms),
        )

    judged: list[Prediction] = []
    async for chunk in predictor.predict(chain([first], examples)):
        if writer is not None:
            if not judged:
                writer.write_run(record())
            writer.write(chunk)
        judged += chunk
        progress(len(judged), limit)
    return record(), judged


def _settings(config: Path | None, model: str | None) -> Settings:
    settings = load_settings(config)
    chosen: dict[str, object] = {} if model is None else {"model": model, "revision": None}
    if settings.guard.score_temperature is None:
        chosen["score_temperature"] = 1.0  # calibration and thresholds need the model's own probabilities
    return settings.model_copy(update={"guard": settings.guard.model_copy(update=chosen)})


def _options(model: str, size: str | None, rule: NoVerdict, bins: int, bootstrap: Bootstrap) -> ReportOptions:
    if size is not None and size not in SIZES:
        raise typer.BadParameter(f"{size}: not one of {', '.join(SIZES)}", param_hint="--size")
    return ReportOptions(rule=rule, bootstrap=bootstrap, bins=bins, size=size or size_of(model))


def _columns(pairs: list[str]) -> dict[str, str]:
    columns = {}
    for pair in pairs:
        name, found, column = pair.partition("=")
        if not found or not column:
            raise typer.BadParameter(f"{pair}: not NAME=COLUMN", param_hint="--column")
        if name in columns:
            raise typer.BadParameter(f"{name}: given twice", param_hint="--column")
        columns[name] = column
    return columns


def _plain(value: Any) -> Any:
    """A result as JSON takes it; tuples with names as objects, too."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value
