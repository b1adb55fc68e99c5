# /// script
# dependencies = ["matplotlib>=3.10"]
# ///
"""Draws one day of `weir bench autoscale --json`: `uv run --script autoscale_plot.py result.json out.png`.

Not a part of Weir: its one dependency is installed by uv, for this script alone.
"""

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt

DAY, MINUTES = 3, 24 * 60
SHOWN = {
    "clairvoyant": ("clairvoyant", "black"),
    "ours": ("Weir", "tab:green"),
    "Ray Serve's default": ("Ray Serve's default", "tab:blue"),
    "lag threshold, best in hindsight": ("lag threshold, best in hindsight", "tab:orange"),
    "lag threshold, from the target": ("lag threshold, from the target", "tab:red"),
}


def main(source: str, target: str) -> None:
    """Draw replicas and seconds behind of all policies, one above the other."""
    comparison = json.loads(Path(source).read_text(encoding="utf-8"))["comparisons"][0]
    figure, (replicas, behind) = plt.subplots(2, 1, sharex=True, figsize=(10, 6), layout="constrained")
    first = (DAY - 1) * MINUTES
    hours = [minute / 60 for minute in range(MINUTES)]
    for side in reversed(comparison["sides"]):
        label, colour = SHOWN[side["policy"]]
        width, alpha = (1.6, 1.0) if side["policy"] in ("ours", "clairvoyant") else (0.7, 0.6)
        for axes, name in ((replicas, "replicas"), (behind, "behind")):
            figures = side["run"][name][first : first + MINUTES]
            axes.plot(hours, figures, label=label, color=colour, linewidth=width, alpha=alpha)
    behind.axhline(60, color="grey", linestyle=":", label="target")
    replicas.set_ylabel("replicas ordered")
    behind.set_ylabel("seconds behind, most of each minute")
    behind.set_xlabel(f"hour of day {DAY}, scenario {comparison['scenario']}")
    figure.legend(*replicas.get_legend_handles_labels(), loc="outside upper center", ncols=5, fontsize=8)
    figure.savefig(target, dpi=90)


if __name__ == "__main__":
    main(*sys.argv[1:3])
