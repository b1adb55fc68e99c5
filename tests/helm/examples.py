"""What the chart's examples render to. `python -m tests.helm.examples` writes it anew, and README.md with it."""

from __future__ import annotations

import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

from tests.helm.go_tools import tool
from tests.helm.rendering import CHART, EXAMPLES, ROOT, manifest

_COPIES = ("prometheusrule.yaml", "dashboards.yaml")


def rendered_files(values: Path) -> list[Path]:
    """The files that are kept of one example."""
    return sorted((values.parent / "rendered").glob("*"))


def rendered_text(values: Path) -> dict[str, str]:
    """One file for each template, by its name, as Helm 3 renders it; without what is a copy, and compared as one."""
    found: dict[str, str] = defaultdict(str)
    for document in manifest("helm3", values).split("---\n# Source: weir/templates/")[1:]:
        source, _, text = document.partition("\n")
        if Path(source).name in _COPIES:
            continue
        found[Path(source).name] += f"---\n{text.rstrip()}\n"
    return dict(found)


def main() -> None:
    """Write README.md and what the examples render to."""
    subprocess.run([str(tool("helm-docs")), "--chart-search-root", str(CHART)], cwd=ROOT, check=True)
    for values in EXAMPLES:
        folder = values.parent / "rendered"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, text in rendered_text(values).items():
            (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
