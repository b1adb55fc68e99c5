"""`weir eval`: how well a guard judges labelled files, and whether one run is better than another.

The statistics are in `pipelines.evaluation`, the files in `workers.evaluation`, the tables in
`workers.cli.eval.tables`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import BaseModel

from pipelines.evaluation.binary import Bootstrap
from pipelines.evaluation.comparison import compare as compare_runs
from pipelines.evaluation.examples import NoVerdict
from pipelines.evaluation.report import Evaluation, ReportOptions, evaluate, inconclusive
from pipelines.evaluation.reported import SIZES, refuse_idle_size, size_of
from workers.cli.eval.tables import show_comparison, show_evaluation
from workers.cli.option_objects import with_objects
from workers.cli.options import AsJson, Config, Delimiter, Encoding, Escape, Model, Quote, by_name
from workers.cli.terminal import NOTHING_JUDGED, progress_bar, show_json
from workers.evaluation.labelled_files import AUTO, FORMAT_NAMES, LabelledFiles
from workers.evaluation.labelled_rows import COLUMNS, Mapped
from workers.evaluation.prediction_files import RunRecord, read_predictions
from workers.files.csv_dialect import DialectAsked
from workers.settings.loading import load_settings

app = typer.Typer(no_args_is_help=True)
_WHOLE = "whole"
_SET = "set"

Rule = Annotated[
    NoVerdict,
    typer.Option(
        "--no-verdict",
        help="How an example without a verdict counts: wrong (whatever its label), unsafe, or left_out. Never as Safe.",
    ),
]


@dataclass(frozen=True)
class _LabelOptions:
    """How labelled files are read."""

    form: Annotated[
        str, typer.Option("--format", help=f"One of {', '.join(FORMAT_NAMES)}; auto goes by the columns.")
    ] = AUTO
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COLUMN", help=f"Where a file of your own has one of {', '.join(COLUMNS)}. Give several."
        ),
    ] = None
    unsafe: Annotated[
        list[str] | None,
        typer.Option(metavar="VALUE", help="A label that means unsafe; then all others mean safe. Give several."),
    ] = None

    delimiter: Delimiter = None
    quote: Quote = None
    escape: Escape = None
    encoding: Encoding = None

    def labelled(self, files: Sequence[Path]) -> LabelledFiles:
        """The files, to be read so."""
        dialect = DialectAsked(self.delimiter, self.quote, self.escape, self.encoding)
        columns = by_name(self.column, "--column", "NAME=COLUMN")
        return LabelledFiles(files, self.form, Mapped.of(columns, self.unsafe or []), dialect)


@dataclass(frozen=True)
class _IntervalOptions:
    """How sure figures are."""

    resamples: Annotated[
        int, typer.Option(min=0, help="Bootstrap resamples behind each interval; 0: no intervals.")
    ] = 1_000
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Coverage of the intervals.")] = 0.95
    seed: Annotated[int, typer.Option(help="Of the resamples.")] = 1

    def bootstrap(self) -> Bootstrap:
        """The same for the library."""
        return Bootstrap(self.resamples, self.level, self.seed)


@dataclass(frozen=True)
class _FigureOptions:
    """Which figures of a run are made."""

    size: Annotated[
        str | None,
        typer.Option(
            help=f"Whose figures of the technical report to lay beside: {', '.join(SIZES)}; default: the model's."
        ),
    ] = None
    rule: Rule = NoVerdict.WRONG
    bins: Annotated[int, typer.Option(min=2, help="Bins of the reliability curve.")] = 10

    def report(self, model: str, bootstrap: Bootstrap, *, is_stream: bool = False) -> ReportOptions:
        """The same for the library."""
        if self.size is not None and self.size not in SIZES:
            raise typer.BadParameter(f"{self.size}: not one of {', '.join(SIZES)}", param_hint="--size")
        size = self.size or size_of(model)
        return ReportOptions(rule=self.rule, bootstrap=bootstrap, bins=self.bins, size=size, is_stream=is_stream)


@app.command()
@with_objects
def run(
    files: Annotated[
        list[Path], typer.Argument(help="JSONL, JSON, CSV, TSV, Parquet or Arrow; .gz, .zst, .xz and .bz2 too.")
    ],
    labels: _LabelOptions,
    figures: _FigureOptions,
    intervals: _IntervalOptions,
    model: Model = None,
    length: Annotated[
        str, typer.Option(help="whole: as published figures; set: by the length policy of the settings.")
    ] = _WHOLE,
    predictions: Annotated[
        Path | None, typer.Option(help="Write verdicts there, for `eval report` and `eval compare`; holds no text.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Judge only the first so many examples.")] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Judge answers token by token, with a Qwen3Guard-Stream model.")
    ] = False,
    debounce: Annotated[
        Literal["paper", "script"] | None,
        typer.Option(
            help="With --stream, raise at the second token in a row that is: not Safe; of the same such label."
        ),
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Judge labelled files with the engine in this process and print its figures.

    Decoding is greedy. Strict counts Controversial as unsafe, loose as safe. Formats, and what is left out of each:
    infra/runbooks/evaluation.md. Exits with 3 if no example got a verdict.
    """
    if length not in (_WHOLE, _SET):
        raise typer.BadParameter(f"{length}: neither {_WHOLE} nor {_SET}", param_hint="--length")
    if stream and length != _WHOLE:
        raise typer.BadParameter("not with --stream, which judges whole conversations", param_hint="--length")
    if debounce is not None and not stream:
        raise typer.BadParameter("only with --stream", param_hint="--debounce")
    settings = load_settings(config).with_model(model)
    options = figures.report(settings.guard.model, intervals.bootstrap(), is_stream=stream)
    labelled = labels.labelled(files)
    from workers.evaluation.judging import EvaluationOrder, judge_files  # torch takes seconds

    rule = (debounce or "paper") if stream else None
    order = EvaluationOrder(labelled, length == _WHOLE, limit, predictions, figures.size, rule)
    with progress_bar("examples") as progress:
        record, judged = asyncio.run(judge_files(settings, order, progress))
    evaluation = evaluate(judged, options)
    if as_json:
        show_json(_entry(record, labelled.skipped, evaluation))
    else:
        show_evaluation(record, labelled.skipped, evaluation)
    if all(item.verdict is None for item in judged):
        raise typer.Exit(NOTHING_JUDGED)


@app.command()
@with_objects
def report(
    predictions: Annotated[Path, typer.Argument(help="What `eval run --predictions` wrote.")],
    figures: _FigureOptions,
    intervals: _IntervalOptions,
    as_json: AsJson = False,
) -> None:
    """Print the figures of an earlier run again, without the model."""
    record, judged = read_predictions(predictions)
    is_stream = record.debounce is not None
    options = figures.report(record.model, intervals.bootstrap(), is_stream=is_stream)
    if figures.size is not None:
        refuse_idle_size(figures.size, {item.benchmark for item in judged}, streamed=is_stream)
    evaluation = evaluate(judged, options)
    if as_json:
        show_json(_entry(record, {}, evaluation))
    else:
        show_evaluation(record, {}, evaluation)


@app.command()
@with_objects
def compare(
    first: Annotated[Path, typer.Argument(help="Predictions of one run.")],
    second: Annotated[Path, typer.Argument(help="Predictions of the other.")],
    intervals: _IntervalOptions,
    rule: Rule = NoVerdict.WRONG,
    listed: Annotated[int, typer.Option("--limit", min=0, help="Ids listed of examples whose severity changed.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Compare two runs on the examples that both judged: F1, and McNemar's test on who is right where.

    Fewer than 25 examples on which only one is right: the exact test; from 25 on chi-square with Edwards' correction.
    """
    (record, judged), (other_record, others) = read_predictions(first), read_predictions(second)
    comparison = compare_runs(judged, others, rule, intervals.bootstrap(), listed)
    if as_json:
        show_json({"first": _plain(record), "second": _plain(other_record), **_plain(comparison)})
    else:
        show_comparison(record, other_record, comparison)


def _entry(record: RunRecord, skipped: Mapping[str, int], evaluation: Evaluation) -> dict[str, Any]:
    return {
        "run": _plain(record),
        "skipped": dict(skipped),
        **_plain(evaluation),
        "inconclusive": inconclusive(evaluation),
    }


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
