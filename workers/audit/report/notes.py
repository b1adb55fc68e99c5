"""The notes of a report: what does not add up, and what was left out.

Computes no figure.
"""

from workers.audit.report.conversations import MOST_CANDIDATES
from workers.audit.report.counts import MOST_GROUPS, MOST_HOURS
from workers.audit.report.examples import MOST_CHARACTERS
from workers.audit.report.model import AuditReport, Breakdown, RunFacts

DEMO_MODEL = "demo"
MOST_DEAD_LETTERS = 0.1  # share of outcomes from which a reader is warned


def warnings_of(report: AuditReport) -> list[str]:
    """What a reader must know before any figure."""
    run, volumes = report.run, report.volumes
    warnings = []
    if not run.finished:
        warnings.append(
            f"This run is not finished: {run.blocks_done:,} of {run.blocks:,} blocks are done, only they are counted."
        )
    told = (run.verdicts, run.dead_letters)
    found = (volumes.verdicts, volumes.dead_letters)
    if told != found:
        warnings.append(
            f"The run's blocks tell of {told[0]:,} verdicts and {told[1]:,} dead letters, its files hold {found[0]:,}"
            f" and {found[1]:,}: files are missing, or were added."
        )
    if run.events != run.verdicts + run.dead_letters + run.skipped:
        warnings.append(
            f"The ledger is not closed: {run.events:,} rows or turns were read, {run.verdicts:,} became verdicts,"
            f" {run.dead_letters:,} dead letters, {run.skipped:,} were skipped."
        )
    if run.finished and not run.verdicts:
        warnings.append("Nothing was judged: no row got a verdict, and no share on this page says anything.")
    if report.comparison and not report.comparison.against.finished:
        warnings.append("The run that this one is compared with is not finished.")
    if report.comparison and not report.comparison.pairs:
        warnings.append("The two runs have no event id in common.")
    if run.provenance.get("model") == DEMO_MODEL:
        warnings.append(
            "The judge was the demo's tiny model, which knows made-up words only: no figure on this page says anything"
            " about the safety of a text."
        )
    outcomes = volumes.verdicts + volumes.dead_letters
    if outcomes and volumes.dead_letters > MOST_DEAD_LETTERS * outcomes:
        warnings.append(
            f"{volumes.dead_letters:,} of {outcomes:,} rows ({volumes.dead_letters / outcomes:.1%}) got no verdict:"
            " every share on this page is one of the others."
        )
    return warnings


def notes_of(report: AuditReport, text_wanted: bool, *, hours_cut: bool) -> list[str]:
    """What was left out, and how figures are to be read."""
    run, comparison = report.run, report.comparison
    notes = [
        *_cut("tenants", report.tenants),
        *_cut("languages", report.languages),
    ]
    if report.conversations.cut:
        notes.append(
            f"More than {MOST_CANDIDATES:,} conversations have an Unsafe verdict. Those with the fewest were not looked"
            " at, so that one of them may be missing from the list; what is listed is exact."
        )
    if hours_cut:
        notes.append(
            f"Events lie in more than {MOST_HOURS:,} different hours; those of others are counted as without a time."
        )
    if report.times.earlier or report.times.later:
        notes.append(
            f"{report.times.earlier:,} verdicts lie before and {report.times.later:,} behind the time that the charts"
            " show: less than 0.1 % at either end, which would stretch the axis."
        )
    notes += _unread(run)
    if run.sample is not None:
        notes.append(f"The run judged a sample ({run.sample}); {run.skipped:,} rows were left out.")
    if run.since_run is not None:
        notes.append(f"Verdicts that run {run.since_run} had already were not made again and are not counted here.")
    if text_wanted and not report.with_text:
        notes.append("Text was asked for, but the run did not keep it (weir audit run --keep-text).")
    if report.with_text:
        notes.append(f"Of each text the first {MOST_CHARACTERS:,} characters are shown.")
    if comparison and comparison.changed_text:
        notes.append(
            f"{comparison.changed_text:,} events have one id but another text in each run; they are in no comparison."
        )
    if comparison and comparison.groups_cut:
        notes.append(f"Of the changes by tenant and language only the first {MOST_GROUPS:,} names were looked at.")
    return notes


def _unread(run: RunFacts) -> list[str]:
    notes = [
        f"Of the input, {count:,} files or folders were not read: {why}. The manifest lists them."
        for why, count in run.left_out.items()
    ]
    if run.turns_not_judged:
        notes.append(
            f"Of each row, the turns judged are: {run.turns}. {run.turns_not_judged:,} other turns with a text were"
            " context only, or not looked at."
        )
    if run.malformed:
        notes.append(f"{run.malformed:,} rows of the input cannot be read; each is a dead letter that names its line.")
    return notes


def _cut(what: str, breakdown: Breakdown) -> list[str]:
    if not breakdown.cut:
        return []
    return [
        f"There are more than {MOST_GROUPS:,} {what}. Each of those that came later is counted under “all others”, not"
        " by itself."
    ]
