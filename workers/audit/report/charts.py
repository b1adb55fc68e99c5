"""Lays out the marks of a report's charts: numbers in, positions in an SVG's user units out.

Draws nothing and knows no colour; the template does.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from math import ceil, log10
from typing import NamedTuple

from schemas.verdict import Severity
from workers.audit.report.counts import BINS
from workers.audit.report.model import Bucket, Histogram, Times, Unit

WIDTH, HEIGHT = 1000, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 18, 10, 24
_GAP = 0.12
"""Share of a bar's width that stays empty, where bars are wide enough to be told apart."""
_MOST_LABELS = 8
_LABELS: dict[Unit, str] = {"hour": "%d %b %H:%M", "day": "%d %b %Y", "month": "%b %Y", "year": "%Y"}
ALL = "all"
SPARK_WIDTH, SPARK_HEIGHT = 360, 26


class Mark(NamedTuple):
    """One rectangle; `kind` is a severity or `all`, `title` is said of it on its own."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str


class Tick(NamedTuple):
    """A line or a label of an axis."""

    at: float
    label: str


class Chart(NamedTuple):
    """Bars over two axes."""

    left: float
    right: float
    top: float
    bottom: float
    marks: list[Mark]
    across: list[Tick]
    up: list[Tick]


def volume_chart(times: Times) -> Chart:
    """Verdicts in each stretch of time."""
    totals = [sum(bucket.severities.values()) for bucket in times.buckets]
    labels = time_labels(times)
    stacks = [[(ALL, float(total), f"{label}: {total:,}")] for total, label in zip(totals, labels, strict=True)]
    return _columns(stacks, labels, lambda value: f"{value:,.0f}", whole=True)


def share_chart(times: Times) -> Chart:
    """Of each stretch's verdicts, the shares that are Unsafe and Controversial, upon each other."""
    labels = time_labels(times)
    stacks = []
    for bucket, label in zip(times.buckets, labels, strict=True):
        total = sum(bucket.severities.values()) or 1
        stacks.append(
            [
                (name, bucket.severities[name] / total, f"{label}: {bucket.severities[name] / total:.2%} {name}")
                for name in (Severity.UNSAFE.value, Severity.CONTROVERSIAL.value)
            ]
        )
    return _columns(stacks, labels, lambda value: f"{100 * value:.3g} %")


def histogram_chart(histogram: Histogram) -> Chart:
    """Verdicts by score; heights are logarithmic, for most scores are near 0 or 1."""
    totals = [sum(bins[index] for bins in histogram.severities.values()) for index in range(BINS)]
    edges = [f"{index / BINS:.2f}" for index in range(BINS + 1)]
    decades = max(1, ceil(log10(max(totals) + 1)))
    step, bottom = (WIDTH - _LEFT - _RIGHT) / BINS, HEIGHT - _BOTTOM
    scale = (bottom - _TOP) / decades

    def height(count: int) -> float:
        return scale * log10(count + 1)

    marks = [
        Mark(
            *(round(_LEFT + (index + _GAP / 2) * step, 2), round(bottom - height(total), 2)),
            *(round(step * (1 - _GAP), 2), round(height(total), 2)),
            ALL,
            f"{edges[index]} to {edges[index + 1]}: {total:,}",
        )
        for index, total in enumerate(totals)
    ]
    across = [Tick(round(_LEFT + index * step, 2), edges[index]) for index in range(0, BINS + 1, 4)]
    up = [Tick(round(bottom - height(10**power), 2), f"{10**power:,}") for power in range(decades)]
    return Chart(_LEFT, WIDTH - _RIGHT, _TOP, bottom, marks, across, up)


def sparkline(counts: Sequence[int]) -> list[Mark]:
    """Small bars beside a name, up to their own highest."""
    step, most = SPARK_WIDTH / max(1, len(counts)), max([*counts, 1])
    heights = [SPARK_HEIGHT * count / most for count in counts]
    return [
        Mark(round(index * step, 2), round(SPARK_HEIGHT - height, 2), round(step * 0.9, 2), round(height, 2), ALL, "")
        for index, height in enumerate(heights)
        if height
    ]


def category_counts(buckets: Sequence[Bucket], category: str) -> list[int]:
    """A category's verdicts in each stretch of time."""
    return [bucket.categories.get(category, 0) for bucket in buckets]


def share_bar(severities: Mapping[str, int], width: float) -> list[Mark]:
    """One bar, divided by severity, the worst first."""
    total, x, marks = sum(severities.values()), 0.0, []
    for severity in reversed(Severity):
        part = width * severities.get(severity.value, 0) / total if total else 0.0
        if part:
            marks.append(Mark(round(x, 2), 0, round(part, 2), 0, severity.value, ""))
        x += part
    return marks


def time_labels(times: Times) -> list[str]:
    """The names of the stretches of time, in UTC."""
    return [datetime.fromisoformat(bucket.start).strftime(_LABELS[times.unit]) for bucket in times.buckets]


def nice_step(most: float, *, whole: bool = False) -> float:
    """A round distance of lines, so that two to five of them reach `most`."""
    if most <= 0:
        return 1.0
    power = 10.0 ** (ceil(log10(most)) - 1)
    step = next(power * part for part in (0.2, 0.5, 1.0, 2.0, 5.0) if most / (power * part) <= 5)
    return max(1.0, step) if whole else step


def _columns(
    stacks: Sequence[Sequence[tuple[str, float, str]]],
    labels: Sequence[str],
    written: Callable[[float], str],
    *,
    whole: bool = False,
) -> Chart:
    """Bars over time, each of parts upon each other: kind, value, title."""
    most = max((sum(value for _, value, _ in stack) for stack in stacks), default=0.0)
    line = nice_step(most, whole=whole)
    lines = max(1, ceil(most / line - 1e-9))
    bottom = HEIGHT - _BOTTOM
    scale = (bottom - _TOP) / (lines * line)
    step = (WIDTH - _LEFT - _RIGHT) / max(1, len(stacks))
    gap = _GAP if step > 3 else 0.0
    marks = []
    for index, stack in enumerate(stacks):
        base = float(bottom)
        for kind, value, title in stack:
            height = value * scale
            base -= height
            if height:
                x = _LEFT + (index + gap / 2) * step
                marks.append(
                    Mark(round(x, 2), round(base, 2), round(step * (1 - gap), 2), round(height, 2), kind, title)
                )
    every = max(1, ceil(len(labels) / _MOST_LABELS))
    across = [Tick(round(_LEFT + (index + 0.5) * step, 2), labels[index]) for index in range(0, len(labels), every)]
    up = [Tick(round(bottom - number * line * scale, 2), written(number * line)) for number in range(lines + 1)]
    return Chart(_LEFT, WIDTH - _RIGHT, _TOP, bottom, marks, across, up)
