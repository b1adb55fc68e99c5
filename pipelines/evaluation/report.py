"""All figures of one run: by task, language and category, and beside the technical report's.

Does not judge and does not print.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.evaluation.binary import Answer, BinaryFigures, Bootstrap, Estimate, binary_figures
from pipelines.evaluation.calibration import Calibration, calibration
from pipelines.evaluation.categories import CategoryNaming, CategoryRecall, category_naming, recall_by_category
from pipelines.evaluation.examples import Mode, NoVerdict, Prediction, is_unsafe, unsafe_score
from pipelines.evaluation.reported import reported_hits, reported_refusal, reported_safety, reported_stream_f1
from pipelines.evaluation.streamed import StreamedFigures, streamed_figures
from pipelines.evaluation.thresholds import ThresholdSweep, sweep
from schemas.event import Task
from schemas.verdict import Severity

FEWEST = 30
"""Examples of a kind, below which a recall or a share of false alarms says next to nothing: its 95 % interval is wider
than 30 points.
"""
_SafetyCell = tuple[Severity, Severity | None]
_RefusalCell = tuple[bool, bool | None]


@dataclass(frozen=True, slots=True)
class ScoreFigures:
    """What the unsafe score of one mode is worth; both None where the engine gave no scores."""

    calibration: Calibration | None
    thresholds: ThresholdSweep | None


@dataclass(frozen=True, slots=True)
class TaskFigures:
    """Everything about the prompts, or about the responses.

    `confusion` counts by labelled severity and verdict, `none` being no verdict; `failures` says why there was none.
    `safety`, and each entry of `by_benchmark` and `by_language`, is by mode.
    """

    items: int
    no_verdict: int
    failures: Mapping[str, int]
    confusion: Mapping[str, Mapping[str, int]]
    safety: Mapping[str, BinaryFigures]
    refusal: BinaryFigures | None
    by_benchmark: Mapping[str, Mapping[str, BinaryFigures]]
    by_language: Mapping[str, Mapping[str, BinaryFigures]]
    by_category: tuple[CategoryRecall, ...]
    category_naming: CategoryNaming | None
    scores: Mapping[str, ScoreFigures]


@dataclass(frozen=True, slots=True)
class BesideReport:
    """One figure beside the technical report's, in percent; `within` says if theirs lies in our interval."""

    benchmark: str
    task: Task
    language: str | None
    figure: str
    items: int
    measured: Estimate
    reported: float
    difference: float | None
    within: bool | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures of one run; `beside_report` is empty where no size was named or no benchmark is in the report.

    `streamed` is about answers that were judged token by token; None where none was.
    """

    items: int
    rule: NoVerdict
    bootstrap: Bootstrap
    size: str | None
    tasks: Mapping[str, TaskFigures]
    beside_report: tuple[BesideReport, ...]
    streamed: StreamedFigures | None = None


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """How figures are made.

    Args:
        rule: how examples without a verdict count.
        bootstrap: of all intervals.
        bins: of the reliability curve.
        thresholds: of the sweep.
        size: whose figures in the technical report are laid beside, or None.
        is_stream: those of Qwen3Guard-Stream.
    """

    rule: NoVerdict = NoVerdict.WRONG
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    bins: int = 10
    thresholds: tuple[float, ...] = tuple(step / 10 for step in range(1, 10))
    size: str | None = None
    is_stream: bool = False


def evaluate(predictions: Sequence[Prediction], options: ReportOptions) -> Evaluation:
    """All figures of some predictions."""
    tasks = {}
    for task in Task:
        of_task = [item for item in predictions if item.task is task]
        if of_task:
            tasks[str(task)] = _task_figures(of_task, options)
    streamed = streamed_figures(predictions, options.bootstrap)
    beside: list[BesideReport] = []
    if options.size is not None:
        make = _beside_stream if options.is_stream else _beside_report
        beside = make(predictions, options, options.size)
    return Evaluation(len(predictions), options.rule, options.bootstrap, options.size, tasks, tuple(beside), streamed)


def inconclusive(evaluation: Evaluation) -> list[str]:
    """What cannot be concluded because there are too few examples, a sentence for each task."""
    said = []
    for task, figures in evaluation.tasks.items():
        for mode, row in figures.safety.items():
            there = [count for count in (row.positives, row.items - row.positives) if count]
            if there and min(there) < FEWEST:
                said.append(
                    f"{task} task, {mode}: {row.positives} unsafe and {row.items - row.positives} safe examples are too"
                    f" few to tell two guards apart or to choose a threshold; {FEWEST} of each are the least"
                )
    return said


def safety_figures(predictions: Sequence[Prediction], options: ReportOptions) -> dict[str, BinaryFigures]:
    """Figures by mode over the examples that have a severity for a label; empty where none has."""
    cells: Counter[_SafetyCell] = Counter(
        (item.label.severity, item.verdict.severity if item.verdict else None)
        for item in predictions
        if item.label.severity is not None
    )
    return binary_figures(cells, _READINGS, options.rule, options.bootstrap) if cells else {}


def refusal_figures(predictions: Sequence[Prediction], options: ReportOptions) -> BinaryFigures | None:
    """Figures of refusals over the examples that are labelled for them."""
    cells: Counter[_RefusalCell] = Counter(
        (item.label.refusal, item.verdict.refusal if item.verdict else None)
        for item in predictions
        if item.label.refusal is not None and item.task is Task.RESPONSE
    )
    return (
        binary_figures(cells, {"refusal": lambda cell: cell}, options.rule, options.bootstrap)["refusal"]
        if (cells)
        else None
    )


def _strict(cell: _SafetyCell) -> Answer:
    return _answer(cell, Mode.STRICT)


def _loose(cell: _SafetyCell) -> Answer:
    return _answer(cell, Mode.LOOSE)


def _answer(cell: _SafetyCell, mode: Mode) -> Answer:
    label, verdict = cell
    return is_unsafe(label, mode), None if verdict is None else is_unsafe(verdict, mode)


_READINGS = {str(Mode.STRICT): _strict, str(Mode.LOOSE): _loose}


def _task_figures(predictions: Sequence[Prediction], options: ReportOptions) -> TaskFigures:
    confusion = {str(label): {**{str(verdict): 0 for verdict in Severity}, "none": 0} for label in Severity}
    for item in predictions:
        if item.label.severity is not None:
            confusion[item.label.severity][str(item.verdict.severity) if item.verdict else "none"] += 1
    return TaskFigures(
        len(predictions),
        sum(item.verdict is None for item in predictions),
        dict(Counter(str(item.failure) for item in predictions if item.verdict is None).most_common()),
        confusion,
        safety_figures(predictions, options),
        refusal_figures(predictions, options),
        _by(predictions, lambda item: item.benchmark, options),
        _by(predictions, lambda item: item.language, options),
        recall_by_category(predictions),
        category_naming(predictions),
        {str(mode): _score_figures(predictions, mode, options) for mode in Mode},
    )


def _by(
    predictions: Sequence[Prediction], name_of: Callable[[Prediction], str | None], options: ReportOptions
) -> dict[str, dict[str, BinaryFigures]]:
    groups: dict[str, list[Prediction]] = {}
    for item in predictions:
        if (name := name_of(item)) is not None:
            groups.setdefault(name, []).append(item)
    each = {name: safety_figures(groups[name], options) for name in sorted(groups)}
    return {name: figures for name, figures in each.items() if figures}


def _score_figures(predictions: Sequence[Prediction], mode: Mode, options: ReportOptions) -> ScoreFigures:
    scored: list[tuple[float, bool]] = []
    without: list[bool] = []
    for item in predictions:
        if item.label.severity is None:
            continue
        truth = is_unsafe(item.label.severity, mode)
        if item.verdict is None:
            without.append(truth)
        elif item.verdict.scores is not None:
            scored.append((unsafe_score(item.verdict.scores, mode), truth))
    return ScoreFigures(calibration(scored, options.bins), sweep(scored, without, options.thresholds, options.rule))


def _beside_report(predictions: Sequence[Prediction], options: ReportOptions, size: str) -> list[BesideReport]:
    groups: dict[tuple[str, Task, str | None], list[Prediction]] = {}
    for item in predictions:
        language = item.language if item.benchmark == "rtp_lx" else None
        groups.setdefault((item.benchmark, item.task, language), []).append(item)
    rows = []
    for (benchmark, task, language), items in groups.items():
        reported = reported_safety(benchmark, task, size, language)
        if reported is not None:
            for mode, figures in safety_figures(items, options).items():
                theirs = reported.strict if mode == Mode.STRICT else reported.loose
                rows.append(_beside(benchmark, task, language, mode, figures.items, figures.f1, theirs))
        refusal = reported_refusal(benchmark, size)
        ours = refusal_figures(items, options) if refusal is not None else None
        if refusal is not None and ours is not None:
            rows.append(_beside(benchmark, task, language, "refusal", ours.items, ours.f1, refusal))
    return rows


def _beside_stream(predictions: Sequence[Prediction], options: ReportOptions, size: str) -> list[BesideReport]:
    """Qwen3Guard-Stream's figures, which are strict."""
    groups: dict[str, list[Prediction]] = {}
    for item in predictions:
        if item.task is Task.RESPONSE:
            groups.setdefault(item.benchmark, []).append(item)
    rows = []
    for benchmark, items in groups.items():
        f1, hits = reported_stream_f1(benchmark, size), reported_hits(benchmark, size)
        if f1 is not None and (safety := safety_figures(items, options)):
            figures = safety[str(Mode.STRICT)]
            rows.append(_beside(benchmark, Task.RESPONSE, None, "strict", figures.items, figures.f1, f1))
        streamed = streamed_figures(items, options.bootstrap) if hits is not None else None
        if hits is not None and streamed is not None and benchmark in streamed.stops:
            stops = streamed.stops[benchmark][str(Mode.STRICT)]
            for name, ours, theirs in (
                ("exact hit", stops.exact, hits.exact),
                ("hit within 128", stops.script_128, hits.within_128),
            ):
                rows.append(_beside(benchmark, Task.RESPONSE, None, name, stops.items, ours, theirs))
    return rows


def _beside(
    benchmark: str, task: Task, language: str | None, figure: str, items: int, ours: Estimate, reported: float
) -> BesideReport:
    value, low, high = (None if part is None else 100 * part for part in (ours.value, ours.low, ours.high))
    # Theirs is rounded to a tenth.
    within = None if low is None or high is None else low - 0.05 <= reported <= high + 0.05
    return BesideReport(
        benchmark,
        task,
        language,
        figure,
        items,
        Estimate(value, low, high),
        reported,
        None if value is None else value - reported,
        within,
    )
