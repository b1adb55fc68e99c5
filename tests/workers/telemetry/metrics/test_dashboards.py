"""Dashboards: generated files, every query parses in Prometheus, and names metrics and labels of the table only."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.dashboards.__main__ import DASHBOARDS, FOLDER, written
from infra.dashboards.panels import Dashboard
from tests.workers.telemetry.dashboard_queries import expressions
from tests.workers.telemetry.prometheus import promtool
from tests.workers.telemetry.promql import names_in
from workers.telemetry.metrics.table import METRICS

SERIES = {name: metric for metric in METRICS for name in metric.series}
TARGET_LABELS = {"job", "instance", "le"}
ALL = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)


def read(dashboard: Dashboard) -> dict[str, Any]:
    return dict(json.loads((FOLDER / f"{dashboard.uid}.json").read_text(encoding="utf-8")))


@ALL
def test_the_file_is_the_generated_one(dashboard: Dashboard) -> None:
    text = (FOLDER / f"{dashboard.uid}.json").read_text(encoding="utf-8")

    assert text == written(dashboard.uid), "run python -m infra.dashboards"


def test_no_other_dashboard_lies_there() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {dashboard.uid for dashboard in DASHBOARDS}


@ALL
@pytest.mark.usefixtures("_prometheus_can_run")
def test_every_query_parses_in_prometheus(dashboard: Dashboard, tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(expressions(dashboard))]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    checked = promtool("check", "rules", "--lint=none", str(file))

    assert len(rules) >= 15
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.usefixtures("_prometheus_can_run")
def test_a_query_that_does_not_parse_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "panels.yaml"
    rules = [{"record": "panel:0", "expr": "sum(moderation_backlog"}]
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")

    assert promtool("check", "rules", "--lint=none", str(file)).returncode != 0


@ALL
def test_a_query_names_metrics_and_labels_of_the_table_only(dashboard: Dashboard) -> None:
    for expression in expressions(dashboard):
        names, labels = names_in(expression)
        assert names, expression
        assert names <= SERIES.keys(), expression
        known = {attribute.label for name in names for attribute in SERIES[name].attributes}
        assert labels <= known | TARGET_LABELS, expression


@ALL
def test_a_legend_names_labels_that_its_query_keeps(dashboard: Dashboard) -> None:
    for panel in dashboard.panels:
        for query in panel.queries:
            kept = {
                label.strip() for group in re.findall(r"by \(([^)]*)\)", query.expression) for label in group.split(",")
            }
            assert set(re.findall(r"{{(\w+)}}", query.legend)) <= kept, panel.title


@ALL
def test_a_selector_asks_for_values_that_an_attribute_can_have(dashboard: Dashboard) -> None:
    values: dict[str, set[str]] = {}
    for attribute in (attribute for metric in METRICS for attribute in metric.attributes if attribute.values):
        values.setdefault(attribute.label, set()).update(attribute.values)
    for expression in expressions(dashboard):
        for label, _, asked in re.findall(r"(\w+)(=~|=)\"([^\"]+)\"", expression):
            if label in values:
                assert set(asked.split("|")) <= values[label], expression


@ALL
def test_panels_fill_rows_and_do_not_overlap(dashboard: Dashboard) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in read(dashboard)["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    ids = [panel["id"] for panel in read(dashboard)["panels"]]
    assert len(ids) == len(set(ids))


def test_every_metric_is_on_some_dashboard() -> None:
    shown = {name for dashboard in DASHBOARDS for text in expressions(dashboard) for name in names_in(text)[0]}
    not_shown = {metric.name for metric in METRICS if not shown & set(metric.series)}

    assert not_shown == {"messaging.client.consumed.messages"}, "arrivals are shown without what rebalances repeat"
