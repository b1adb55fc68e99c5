"""Draws a dashboard's graphs from its own queries and a running Prometheus, where there is no Grafana to do it.

    python infra/dashboards/render.py infra/dashboards/weir-gpu.json http://localhost:9090 gpu.png --minutes 5

Needs matplotlib (and Pillow, which it brings), in an environment of its own, and nothing of this project.
"""

import argparse
import json
import re
import time
import urllib.parse
import urllib.request
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from PIL import Image

COLUMNS = 4
COLOURS = 48  # few, so that the pictures are small
MOST_NAMED = 8  # in a legend
POINTS = 150
Series = tuple[str, list[float], list[float]]


def series_of(prometheus: str, target: dict[str, str], start: float, end: float) -> list[Series]:
    """Name, minutes and values of a query's series."""
    step = max(1.0, (end - start) / POINTS)
    expression = target["expr"].replace("$__rate_interval", f"{max(10, int(4 * step))}s")
    query = urllib.parse.urlencode({"query": expression, "start": start, "end": end, "step": step})
    with urllib.request.urlopen(f"{prometheus}/api/v1/query_range?{query}", timeout=30) as answer:
        found = json.load(answer)["data"]["result"]
    return [
        (
            re.sub(
                r"{{(\w+)}}", lambda label, own=one["metric"]: own.get(label[1], "")[:24], target["legendFormat"]
            ).lstrip("_"),
            [(float(at) - start) / 60 for at, _ in one["values"]],
            [float(value) for _, value in one["values"]],
        )
        for one in found
    ]


def draw(axes: Axes, panel: dict[str, Any], series: list[Series]) -> None:
    """One panel."""
    defaults = panel["fieldConfig"]["defaults"]
    if len(series) > MOST_NAMED:  # the largest, as one would pick them in Grafana
        series = sorted(series, key=lambda one: -max(one[2]))[:MOST_NAMED]
    stacking = defaults.get("custom", {}).get("stacking", {}).get("mode", "none")
    if stacking == "none" or not series:
        for name, minutes, values in series:
            axes.plot(minutes, values, linewidth=1, label=name)
    else:
        minutes = sorted({minute for _, some, _ in series for minute in some})
        rows = [
            [dict(zip(some, values, strict=True)).get(minute, 0.0) for minute in minutes] for _, some, values in series
        ]
        wholes = [sum(column) or 1.0 for column in zip(*rows, strict=True)]
        if stacking == "percent":
            rows = [[value / whole for value, whole in zip(row, wholes, strict=True)] for row in rows]
        axes.stackplot(minutes, rows, labels=[name for name, _, _ in series], alpha=0.7)
    limits = [step["value"] for step in defaults["thresholds"]["steps"] if step["value"] is not None]
    highest = max((max(values) for _, _, values in series), default=0.0)
    for limit in limits:
        if limit <= 2 * highest:
            axes.axhline(limit, color="red", linewidth=0.8, linestyle="--")
    unit = {"percentunit": "share", "reqps": "/s", "short": "", "none": ""}.get(defaults["unit"], defaults["unit"])
    axes.set_title(f"{panel['title']}{f' ({unit})' if unit else ''}", fontsize=8)
    axes.tick_params(labelsize=6)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3, linewidth=0.4)
    if series:
        axes.legend(fontsize=5, frameon=False, loc="upper left")
    else:
        axes.text(0.5, 0.5, "no data", ha="center", transform=axes.transAxes, fontsize=7)


def main() -> None:
    """Draw one dashboard."""
    parser = argparse.ArgumentParser(description="Draws a dashboard from a running Prometheus.")
    parser.add_argument("dashboard", type=Path)
    parser.add_argument("prometheus")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--end", type=float, help="seconds since the epoch; now if not given")
    chosen = parser.parse_args()
    dashboard = json.loads(chosen.dashboard.read_text(encoding="utf-8"))
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    end = chosen.end or time.time()
    start = end - 60 * chosen.minutes
    rows = -(-len(panels) // COLUMNS)
    figure, grid = plt.subplots(rows, COLUMNS, figsize=(13, 2.1 * rows), squeeze=False, layout="constrained")
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, panel in zip(grid.flat, panels, strict=False):
        draw(
            axes,
            panel,
            [one for target in panel["targets"] for one in series_of(chosen.prometheus, target, start, end)],
        )
    figure.suptitle(f"{dashboard['title']}: {chosen.minutes:g} minutes", fontsize=10)
    drawn = BytesIO()
    figure.savefig(drawn, dpi=68)
    Image.open(drawn).convert("P", palette=Image.Palette.ADAPTIVE, colors=COLOURS).save(chosen.picture, optimize=True)


if __name__ == "__main__":
    main()
