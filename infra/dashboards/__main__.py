"""Writes the dashboards as JSON beside this file: `python -m infra.dashboards`; a test compares them."""

import json
from pathlib import Path

from infra.dashboards.gpu import GPU
from infra.dashboards.operators import OPERATORS
from infra.dashboards.trust_and_safety import TRUST_AND_SAFETY

DASHBOARDS = (OPERATORS, TRUST_AND_SAFETY, GPU)
FOLDER = Path(__file__).parent


def written(uid: str) -> str:
    """What stands in a dashboard's file."""
    (dashboard,) = (each for each in DASHBOARDS if each.uid == uid)
    return json.dumps(dashboard.to_grafana(), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write them all."""
    for dashboard in DASHBOARDS:
        (FOLDER / f"{dashboard.uid}.json").write_text(written(dashboard.uid), encoding="utf-8")


if __name__ == "__main__":
    main()
