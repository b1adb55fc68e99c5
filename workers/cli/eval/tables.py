"""The tables of `weir eval`. Figures are percentages, followed by their intervals.

Computes nothing.
"""

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.evaluation.binary import BinaryFigures, Estimate
from pipelines.evaluation.comparison import RunComparison
from pipelines.evaluation.report import Evaluation, ScoreFigures, TaskFigures, inconclusive
from pipelines.evaluation.reported import SOURCE
from pipelines.evaluation.streamed import BINS, StreamedFigures
from workers.cli.terminal import console, plain
from workers.evaluation.prediction_files import RunRecord

_FIGURES = ("items", "positive", "precision", "recall", "F1", "accuracy", "false alarms", "no verdict")


def show_evaluation(run: RunRecord, skipped: Mapping[str, int], evaluation: Evaluation) -> None:
    """All tables of one run."""
    out = console()
    _show_run(out, "model", run)
    for path, form in run.files.items():
        out.print(escape(plain(f"{path}: read as {form}")))
    left_out = ", ".join(f"{count} {reason}" for reason, count in skipped.items())
    out.print(f"{evaluation.items} examples{f'; rows left out: {left_out}' if left_out else ''}")
    for sentence in inconclusive(evaluation):
        out.print(f"[yellow]{sentence}[/]")
    for task, figures in evaluation.tasks.items():
        _show_task(out, task, figures, evaluation)
    if evaluation.streamed is not None:
        _show_streamed(out, evaluation.streamed)
    _show_beside(out, evaluation)


def show_comparison(first: RunRecord, second: RunRecord, comparison: RunComparison) -> None:
    """The tables of two runs."""
    out = console()
    _show_run(out, "A", first)
    _show_run(out, "B", second)
    out.print(
        f"{comparison.common} examples in both, {comparison.only_first} in A only, {comparison.only_second} in B only"
    )
    names = ["", "items", "F1 of A", "F1 of B", "B less A", "only A right", "only B right", "McNemar", "p"]
    for task, contests in comparison.contests.items():
        table = Table(*names, title=f"{task} task")
        for name, contest in contests.items():
            test = contest.mcnemar
            table.add_row(
                name,
                str(contest.items),
                _percent(contest.first_f1),
                _percent(contest.second_f1),
                _estimate(contest.difference),
                str(test.only_first_right),
                str(test.only_second_right),
                test.test.replace("_", "-"),
                f"{test.p_value:.4g}",
            )
        out.print(table)
    for change, count in comparison.transitions.items():
        out.print(f"{count} of {change}")
    if comparison.changed:
        out.print(escape(plain(f"changed: {', '.join(comparison.changed)}")))


def _show_run(out: Console, name: str, run: RunRecord) -> None:
    made = run.provenance
    known = f", revision {made.revision}, {made.engine}, {made.dtype}" if made else ""
    stream = f"; token by token, debounce {run.debounce}" if run.debounce else ""
    text = f"{name}: {run.model}{known}{stream}; length {run.length}; greedy; weir {run.weir_version}, {run.started_at}"
    out.print(escape(plain(text)))


def _show_task(out: Console, task: str, figures: TaskFigures, evaluation: Evaluation) -> None:
    level = evaluation.bootstrap.level
    title = f"{task} task, {level:.0%} intervals of {evaluation.bootstrap.resamples} resamples"
    table = Table("", *_FIGURES, title=title)
    for name, row in (*figures.safety.items(), ("refusal", figures.refusal)):
        if row is not None:
            table.add_row(name, *_cells(row))
    out.print(table)
    if figures.no_verdict:
        reasons = ", ".join(f"{count} {reason}" for reason, count in figures.failures.items())
        out.print(f"no verdict: {figures.no_verdict} ({reasons}); counted as {evaluation.rule.replace('_', ' ')}")
    if figures.safety:
        _show_confusion(out, figures)
    _show_groups(out, "benchmark", figures.by_benchmark)
    _show_groups(out, "language", figures.by_language)
    _show_categories(out, figures)
    for mode, scores in figures.scores.items():
        _show_scores(out, task, mode, scores)


def _show_confusion(out: Console, figures: TaskFigures) -> None:
    rows = {label: row for label, row in figures.confusion.items() if any(row.values())}
    table = Table("label \\ verdict", *next(iter(rows.values())))
    for label, row in rows.items():
        table.add_row(label, *map(str, row.values()))
    out.print(table)


def _show_groups(out: Console, kind: str, groups: Mapping[str, Mapping[str, BinaryFigures]]) -> None:
    if len(groups) < 2:  # one is the whole
        return
    table = Table(kind, "", "items", "positive", "precision", "recall", "F1", "no verdict")
    for name, modes in groups.items():
        for mode, row in modes.items():
            counts = (str(row.items), str(row.positives))
            parts = map(_estimate, (row.precision, row.recall, row.f1))
            table.add_row(escape(plain(name)), mode, *counts, *parts, str(row.counts.no_verdict))
    out.print(table)


def _show_categories(out: Console, figures: TaskFigures) -> None:
    if figures.by_category:
        table = Table("labelled category", "unsafe items", "strict recall", "loose recall", "no verdict")
        for row in figures.by_category:
            recalls = (_percent(row.strict_recall), _percent(row.loose_recall))
            table.add_row(escape(plain(row.category)), str(row.items), *recalls, str(row.no_verdict))
        out.print(table)
    naming = figures.category_naming
    if naming is None:
        return
    table = Table("category named", "labelled", "named", "precision", "recall", "F1")
    for named in naming.categories:
        shares = (_percent(named.precision), _percent(named.recall), _percent(named.f1))
        table.add_row(named.category, str(named.labelled), str(named.named), *shares)
    micro = (_percent(naming.micro_precision), _percent(naming.micro_recall), _percent(naming.micro_f1))
    table.add_row("all, micro", "", "", *micro)
    out.print(table)
    out.print(f"macro F1 {_percent(naming.macro_f1)}; all categories right: {_percent(naming.exact)} of {naming.items}")


def _show_scores(out: Console, task: str, mode: str, scores: ScoreFigures) -> None:
    curve, sweep = scores.calibration, scores.thresholds
    if curve is None or sweep is None:
        return
    table = Table("score over", "up to", "items", "mean score", "unsafe", title=f"{task} task, {mode}: reliability")
    for step in curve.bins:
        means = (_percent(step.mean_score), _percent(step.share_positive))
        table.add_row(f"{step.low:.2f}", f"{step.high:.2f}", str(step.items), *means)
    out.print(table)
    out.print(
        f"expected calibration error {_percent(curve.expected_error)}, largest {_percent(curve.largest_error)},"
        f" Brier score {curve.brier:.4f}, average precision {_percent(sweep.average_precision)},"
        f" ROC area {_percent(sweep.roc_auc)}; {curve.items} scored"
    )
    names = ("threshold", "flagged", "precision", "recall", "F1", "false alarms")
    table = Table(*names, title=f"{task} task, {mode}: thresholds on the unsafe score")
    best = [("best F1, ", sweep.best)] if sweep.best else []
    for title, at in (*(("", step) for step in sweep.steps), *best):
        shares = (_percent(at.precision), _percent(at.recall), _percent(at.f1), _percent(at.false_positive_rate))
        table.add_row(f"{title}{at.threshold:.4g}", str(at.flagged), *shares)
    out.print(table)


def _show_streamed(out: Console, figures: StreamedFigures) -> None:
    """Where answers were stopped, and what was said of their tokens."""
    lost = f", {figures.not_located} that do not have the place of their label" if figures.not_located else ""
    out.print(
        f"{figures.items} answers judged token by token, {figures.without_place} without the place of a sentence{lost}"
    )
    names = ("benchmark", "", "items", "in the sentence", "within 128", "script's 128", "latency", *BINS)
    table = Table(*names, title="where unsafe answers are stopped; distances and latency in tokens")
    for name, modes in figures.stops.items():
        for mode, row in modes.items():
            shares = map(_estimate, (row.exact, row.within_128, row.script_128))
            latency = "-" if row.latency is None else f"{row.latency:g}"
            counts = (str(row.distances[place]) for place in BINS)
            table.add_row(escape(plain(name)), mode, str(row.items), *shares, latency, *counts)
    if figures.stops:
        out.print(table)
    table = Table("tokens of", "tokens", "strict unsafe", "loose unsafe")
    for part, counted in figures.tokens.items():
        flagged = (
            _percent(count / counted.tokens if counted.tokens else None) for count in (counted.strict, counted.loose)
        )
        table.add_row(part, str(counted.tokens), *flagged)
    out.print(table)


def _show_beside(out: Console, evaluation: Evaluation) -> None:
    if evaluation.size is None:
        out.print("the model's name tells no size; --size lays the technical report's figures beside these")
        return
    if not evaluation.beside_report:
        out.print(f"none of these examples is in the tables of {SOURCE}")
        return
    names = ("benchmark", "task", "language", "", "items", "here", f"{evaluation.size} there", "difference", "")
    table = Table(*names, title=f"beside the {SOURCE}")
    for row in evaluation.beside_report:
        table.add_row(
            row.benchmark,
            str(row.task),
            row.language or "",
            row.figure,
            str(row.items),
            _estimate(row.measured, 1.0),
            f"{row.reported:.1f}",
            "-" if row.difference is None else f"{row.difference:+.1f}",
            {True: "within the interval", False: "outside of it", None: ""}[row.within],
        )
    out.print(table)


def _cells(figures: BinaryFigures) -> tuple[str, ...]:
    parts = (figures.precision, figures.recall, figures.f1, figures.accuracy, figures.false_positive_rate)
    return (str(figures.items), str(figures.positives), *map(_estimate, parts), str(figures.counts.no_verdict))


def _estimate(estimate: Estimate, scale: float = 100.0) -> str:
    if estimate.value is None:
        return "-"
    value = f"{scale * estimate.value:.1f}"
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} ({scale * estimate.low:.1f}-{scale * estimate.high:.1f})"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
