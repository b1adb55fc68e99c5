"""Alerts: each fires when it should, is silent when not, and has a runbook with its thresholds and real metrics."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workers.telemetry.prometheus import promtool
from tests.workers.telemetry.promql import names_in
from workers.settings.loading import variable_names
from workers.telemetry.metrics.table import METRICS

INFRA = Path(__file__).parents[4] / "infra"
ALERTS = sorted((INFRA / "alerts").glob("*.yaml"))
SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
SERIES = {name for metric in METRICS for name in metric.series}

SETTINGS = {name.removeprefix("WEIR_").lower().replace("__", ".") for name in variable_names()}

pytestmark = pytest.mark.usefixtures("_prometheus_can_run")


def rules_of(file: Path) -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    return list(group["rules"])


def squeezed(text: str) -> str:
    return " ".join(text.split())


def test_prometheus_takes_the_configuration_and_finds_the_alerts() -> None:
    checked = promtool("check", "config", "prometheus.yaml", cwd=INFRA / "collector")

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(ALERTS)} rule files found" in checked.stdout


def test_there_is_an_alert_for_each_objective_and_for_what_stops_a_worker() -> None:
    assert len(ALERTS) >= 12
    assert {"freshness", "completeness", "correctness", "breaker-open", "silent"} <= {file.stem for file in ALERTS}


@pytest.mark.parametrize("file", ALERTS, ids=lambda file: file.stem)
def test_a_file_holds_one_alert_whose_name_is_the_file_s(file: Path) -> None:
    rules = rules_of(file)
    checked = promtool("check", "rules", str(file))

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert {rule["alert"] for rule in rules} == {"Weir" + "".join(word.capitalize() for word in file.stem.split("-"))}
    assert len({rule["labels"]["severity"] for rule in rules}) == len(rules)
    assert {rule["labels"]["severity"] for rule in rules} <= {"page", "ticket"}
    assert {rule["annotations"]["runbook"] for rule in rules} == {f"infra/runbooks/{file.stem}.md"}


@pytest.mark.parametrize("file", ALERTS, ids=lambda file: file.stem)
def test_a_rule_names_metrics_and_labels_of_the_table_only(file: Path) -> None:
    for rule in rules_of(file):
        names, labels = names_in(rule["expr"])
        assert names
        assert names <= SERIES
        assert labels <= {attribute.label for metric in METRICS for attribute in metric.attributes} | {"le"}


@pytest.mark.parametrize("file", ALERTS, ids=lambda file: file.stem)
def test_an_alert_fires_when_it_should_and_is_silent_when_it_should_not(file: Path) -> None:
    tests = file.parent / "tests" / file.name
    content = yaml.safe_load(tests.read_text(encoding="utf-8"))
    expected = [case["exp_alerts"] for test in content["tests"] for case in test["alert_rule_test"]]
    silent = [test for test in content["tests"] if not any(case["exp_alerts"] for case in test["alert_rule_test"])]
    severities = {alert["exp_labels"]["severity"] for alerts in expected for alert in alerts}
    done = promtool("test", "rules", file.name, cwd=tests.parent)

    assert done.returncode == 0, done.stdout + done.stderr
    assert severities == {rule["labels"]["severity"] for rule in rules_of(file)}, "a rule is never seen to fire"
    assert silent, "the alert is never seen to be silent"


@pytest.mark.parametrize("file", ALERTS, ids=lambda file: file.stem)
def test_the_runbook_has_its_sections_and_the_same_rules_and_thresholds(file: Path) -> None:
    text = (INFRA / "runbooks" / f"{file.stem}.md").read_text(encoding="utf-8")
    blocks = {
        (severity, wait): squeezed(expression)
        for severity, wait, expression in re.findall(
            r"`severity: (\w+)`, once it has held for (\w+):\n\n```promql\n(.*?)\n```", text, re.DOTALL
        )
    }

    assert re.findall(r"(?m)^## (.*)$", text) == SECTIONS
    assert text.startswith(f"# {rules_of(file)[0]['alert']}\n")
    assert blocks == {(rule["labels"]["severity"], rule["for"]): squeezed(rule["expr"]) for rule in rules_of(file)}
    for name in re.findall(r"`([\w-]+\.md)`", text):
        assert (INFRA / "runbooks" / name).exists(), name


@pytest.mark.parametrize("file", ALERTS, ids=lambda file: file.stem)
def test_what_a_runbook_names_exists(file: Path) -> None:
    text = (INFRA / "runbooks" / f"{file.stem}.md").read_text(encoding="utf-8")
    labels = {attribute.label for metric in METRICS for attribute in metric.attributes}

    assert set(re.findall(r"\bmoderation_\w+", text)) <= SERIES | labels
    for section, name in re.findall(r"`(\w+)\.(\w+)`", text):
        assert f"{section}.{name}" in SETTINGS or name in {"md", "dlq"}, f"{section}.{name} is no setting"
