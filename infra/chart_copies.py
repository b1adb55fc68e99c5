"""Copies alerts and dashboards into the chart, which cannot reach outside its folder; a test compares them.

And the chart's own defaults to where its templates can read them.
"""

import shutil
from pathlib import Path

INFRA = Path(__file__).parent
FILES = INFRA.parent / "helm" / "weir" / "files"
VALUES, DEFAULTS = FILES.parent / "values.yaml", FILES / "defaults.yaml"
COPIED = {"alerts": "*.yaml", "dashboards": "*.json"}


def main() -> None:
    """Write the copies anew."""
    for folder, pattern in COPIED.items():
        shutil.rmtree(FILES / folder, ignore_errors=True)
        for source in sorted((INFRA / folder).glob(pattern)):
            (FILES / folder).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, FILES / folder / source.name)
    shutil.copyfile(VALUES, DEFAULTS)


if __name__ == "__main__":
    main()
