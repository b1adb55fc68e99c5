"""Renders a report as one self-contained HTML page: no network, inline style and charts, a script that sorts tables.

The template engine escapes every value, names from outside lose their unprintable characters, and the page's content
security policy allows nothing but its own style sheet and script. Computes no figure.
"""

import base64
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from workers.audit.report import charts
from workers.audit.report.model import AuditReport, RunFacts

_FOLDER = Path(__file__).with_name("page")
_LEADING = 2
_DATE_DIGITS = {"hour": 10, "day": 10, "month": 7, "year": 4}
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def render(report: AuditReport) -> str:
    """The page."""
    style, script = (_Ours((_FOLDER / name).read_text(encoding="utf-8")) for name in ("page.css", "tables.js"))
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        one_line=one_line,
        number=lambda value: f"{value:,}",
        percent=percent,
        share=lambda part, whole: percent(part / whole) if whole else "–",
        points=lambda value: f"{100 * value:+.2f}\u00a0points".replace("-", "−"),
        decimal=lambda value: "undefined" if value is None else f"{value:.3f}",
        short=short,
        duration=duration,
        moment=lambda text: datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"),
        leading=_leading,
        listed=lambda counts: ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none",
        scores=lambda scores: ", ".join(f"{name} {score:.3f}" for name, score in scores.items()),
    )
    drawing = {
        name: getattr(charts, name)
        for name in ("volume_chart", "share_chart", "histogram_chart", "sparkline", "share_bar", "time_labels")
    }
    page = environment.get_template("page.html").render(
        report=report,
        style=style,
        script=script,
        style_sha256=_digest(style),
        script_sha256=_digest(script),
        width=charts.WIDTH,
        height=charts.HEIGHT,
        spark_width=charts.SPARK_WIDTH,
        spark_height=charts.SPARK_HEIGHT,
        category_counts=charts.category_counts,
        run_facts=run_facts,
        facts_beside=facts_beside,
        period_of=period_of,
        **drawing,
    )
    return page + "\n"


def period_of(report: AuditReport) -> str:
    """The time of the events, or that of the run where they have none."""
    digits = _DATE_DIGITS[report.times.unit]
    dates = [bucket.start[:digits] for bucket in report.times.buckets]
    if not dates:
        return f"judged {report.run.started_at[:10]}"
    return dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"


class FactsBeside(NamedTuple):
    """Facts of two runs by name: those that differ, and the others."""

    differ: list[tuple[str, str | None, str | None]]
    same: list[tuple[str, str | None, str | None]]


class _Ours(str):
    """A file of ours, put into the page unescaped: the policy's digest is that of what stands in the page."""

    def __html__(self) -> str:
        return str(self)


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def run_facts(run: RunFacts) -> list[tuple[str, str]]:
    """What judged, by name, in the order of the page."""
    facts = [*run.provenance.items(), *((f"policy {name}", value) for name, value in run.policy.items())]
    facts += run.versions.items()
    if run.sample is not None:
        facts.append(("sample", run.sample))
    if run.since_run is not None:
        facts.append(("only what was new since run", run.since_run))
    return [("run", run.run_id), *((name.replace("_", " "), value) for name, value in facts)]


def facts_beside(before: RunFacts, after: RunFacts) -> FactsBeside:
    """What judged in either run; None where one does not say it."""
    was, now = dict(run_facts(before)), dict(run_facts(after))
    rows = [(title, was.get(title), now.get(title)) for title in dict.fromkeys([*was, *now]) if title != "run"]
    return FactsBeside([row for row in rows if row[1] != row[2]], [row for row in rows if row[1] == row[2]])


def one_line(text: str) -> str:
    """A name from outside, with unprintable characters and line breaks shown as escapes."""
    return _escaped(text, "")


def percent(share: float) -> str:
    """A share for people to read: a small one is never rounded to 0 %, nor a large one to 100 %."""
    if 0 < share < 0.00005:
        return "< 0.01\u00a0%"
    if 0.99995 <= share < 1:
        return "> 99.99\u00a0%"
    return f"{100 * share:.2f}\u00a0%"


def short(value: float) -> str:
    """A large number with a unit of thousands."""
    for unit, letter in _UNITS:
        if value >= 0.9995 * unit:  # what three digits write as 1,000 of the unit below
            return f"{value / unit:.3g}\u00a0{letter}"
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def _printable(value: Any) -> Any:
    """Text without characters that act on a screen, such as marks that reverse the direction of writing."""
    return _escaped(value, "\n\u00a0") if isinstance(value, str) and not hasattr(value, "__html__") else value


def _escaped(text: str, kept: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in kept else character.encode("unicode_escape").decode()
        for character in text
    )


def _leading(counts: Mapping[str, int], rows: int) -> str:
    """The categories that are named most, with their share of all rows."""
    first = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_LEADING]
    return ", ".join(f"{name} {percent(count / rows)}" for name, count in first) or "–"
