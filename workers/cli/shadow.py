"""`weir shadow`: how a candidate model, revision or policy compares with what was decided live.

The topic is read by `workers.shadow.report`.
"""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from schemas.shadow import Label, ShadowJudge, ShadowOutcome
from workers.cli.options import AsJson, Config, Since, Until
from workers.cli.terminal import console, plain, progress_bar, show_json
from workers.settings.loading import load_settings

if TYPE_CHECKING:
    from workers.shadow.report import ShadowComparison, ShadowReport

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _shadow() -> None:
    """A group, so that the command keeps its name."""


@app.command()
def report(
    since: Since = None,
    until: Until = None,
    examples: Annotated[int, typer.Option(min=0, help="Show so many of the newest disagreements; ids only.")] = 10,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Agreement of each candidate with live, and what it would have decided otherwise, from the shadow topic.

    Exits with 1 if nothing was compared.
    """
    from workers.shadow.report import shadow_report  # kafka-python takes half a second

    settings = load_settings(config)
    with progress_bar("records", quiet=as_json) as bar:
        found = shadow_report(settings, since, until, examples, bar)
    if as_json:
        show_json(found.to_dict())
    else:
        _show(found)
    raise typer.Exit(int(all(comparison.agreement is None for comparison in found.comparisons)))


def _show(found: "ShadowReport") -> None:
    out = console()
    for comparison in found.comparisons:
        out.print(f"live: {_judge(comparison.live)}; candidate: {_judge(comparison.candidate)}")
        out.print(_matrix(comparison))
        share = "nothing compared" if comparison.agreement is None else f"agreement {comparison.agreement:.2%}"
        ways = ", ".join(f"{difference} {count:,}" for difference, count in comparison.differences.most_common())
        compared = comparison.agreed + comparison.disagreed
        out.print(f"{share}; {comparison.disagreed:,} of {compared:,} differ: {ways or '-'}")
        out.print(
            f"not compared: {comparison.dropped:,} dropped, {comparison.unanswered:,} unanswered;"
            f" {comparison.unpublished:,} records not written; {comparison.since} to {comparison.until}"
        )
    if not found.comparisons:
        out.print("no summary in the topic: is shadow.enabled set, and has shadow.summary_interval_s passed?")
    if found.examples:
        title = f"of {found.disagreements:,} disagreements"
        table = Table("event", "record", "differs in", "live", "candidate", title=title)
        for item in found.examples:
            source = f"{item.source.topic}-{item.source.partition}-{item.source.offset}"
            sides = _side(item.live), _side(item.candidate)
            table.add_row(escape(plain(item.event_id)), escape(plain(source)), ", ".join(item.differences), *sides)
        out.print(table)


def _matrix(comparison: "ShadowComparison") -> Table:
    labels: list[Label] = sorted({label for pair in comparison.pairs for label in pair})
    table = Table("live \\ candidate", *labels)
    for live in labels:
        table.add_row(live, *(f"{comparison.pairs[live, other]:,}" for other in labels))
    return table


def _judge(judge: ShadowJudge) -> str:
    revision = "" if judge.revision is None else f"@{judge.revision[:12]}"
    return escape(plain(f"{judge.model}{revision}, policy {judge.policy_name} {judge.policy_version}"))


def _side(outcome: ShadowOutcome) -> str:
    if outcome.verdict is None:
        return f"no verdict: {outcome.reason}"
    verdict = outcome.verdict
    return " ".join([verdict.severity, verdict.action, ", ".join(verdict.categories)])
