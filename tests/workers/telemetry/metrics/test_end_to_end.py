"""The demo's real workers, OTLP, a real collector, a real Prometheus: every metric of a run is found by query."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from infra.dashboards.__main__ import DASHBOARDS
from tests.site import wait_until
from tests.workers.telemetry.collector import Collector
from tests.workers.telemetry.dashboard_queries import expressions
from tests.workers.telemetry.prometheus import Prometheus
from workers.cli.app import app
from workers.telemetry.metrics.definition import Metric
from workers.telemetry.metrics.table import METRICS

WEIR = Path(sys.executable).with_name("weir")
EVENTS = 300
# By default the mix of verdicts has a baseline after 20,000 records and minutes; here after three chunks or four.
SOON = {
    "WEIR_DELIVERY__CHUNK_SIZE": "16",
    "WEIR_BREAKER__DRIFT_ACTION": "warn",
    "WEIR_BREAKER__DRIFT_BASELINE_RECORDS": "16",
    "WEIR_BREAKER__DRIFT_WINDOW_RECORDS": "16",
    "WEIR_BREAKER__DRIFT_WINDOW_S": "0.001",
}
ROLES = {"stream": {"weir-stream"}, "guard": {"weir-guard"}, "all": {"weir-stream", "weir-guard"}}


def newest(name: str, *, by: str = "job") -> str:
    """What a series stood at last, whether or not its process has ended since."""
    return f"sum by ({by}) (last_over_time({name}[10m]))"


def test_every_metric_of_a_run_reaches_prometheus_under_its_name_with_its_attributes(
    collector: Collector, prometheus: Prometheus, tmp_path: Path
) -> None:
    candidate = tmp_path / "candidate.yaml"
    candidate.write_text("{name: strict, version: '2', actions: {Safe: review}}", encoding="utf-8")
    shadow = {"ENABLED": "true", "SHARE": "1", "POLICY_FILE": str(candidate)}
    environment = {**os.environ, **collector.variables, **SOON, "OTEL_METRIC_EXPORT_INTERVAL": "1000"}
    environment |= {f"WEIR_SHADOW__{name}": value for name, value in shadow.items()}
    done = subprocess.run(
        [WEIR, "demo", "--json", "--events", str(EVENTS)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    wait_until(lambda: prometheus.value("time() - max(timestamp(up))") is not None, "a scrape")
    completed = newest("moderation_records_completed_total")
    wait_until(lambda: prometheus.value(completed) == EVENTS, "the last export to be scraped")

    for metric in METRICS:
        # The demo answers nobody over HTTP; tests/workers/serving/remote has an engine of servers.
        if metric.source not in ("ask", "deltas", "stream_guard") and not metric.name.startswith("moderation.remote."):
            check(metric, prometheus)
    names = {series["metric"]["__name__"] for series in prometheus.query('last_over_time({job=~"weir-.*"}[10m])')}
    unknown = names - {name for metric in METRICS for name in metric.series}
    assert unknown == {"target_info"}
    by_severity = {
        series["metric"]["moderation_severity"]: int(series["value"][1])
        for series in prometheus.query(newest("moderation_verdicts_total", by="moderation_severity"))
    }
    assert by_severity == report["severities"]
    by_reason = {
        series["metric"]["error_type"]: int(series["value"][1])
        for series in prometheus.query(newest("moderation_dead_letters_total", by="error_type"))
    }
    assert by_reason == report["dead_letters"]
    for expression in (text for dashboard in DASHBOARDS for text in expressions(dashboard)):
        prometheus.query(expression)  # what parses may still fail, as a match of many to many does
    check_top(collector, report)


def check_top(collector: Collector, report: dict[str, Any]) -> None:
    shown = CliRunner().invoke(app, ["top", "--once", "--wait", "0", "--json", "--url", collector.metrics_url])
    assert shown.exit_code == 0, shown.output
    figures = json.loads(shown.stdout)

    assert (figures["consumers"], figures["guard_replicas"]) == (1, 1)
    assert figures["breaker"]["open"] == 0
    assert figures["in_flight"]["records"] == 0
    verdicts = sum(report["severities"].values())
    shares = {severity: count / verdicts for severity, count in report["severities"].items()}
    assert figures["verdicts"]["severities"] == pytest.approx(shares)


def check(metric: Metric, prometheus: Prometheus) -> None:
    labels = {attribute.label for attribute in metric.attributes}
    for name in metric.series:
        found = prometheus.query(f"last_over_time({name}[10m])")
        assert found, f"{name} is not in Prometheus"
        assert {series["metric"]["job"] for series in found} == ROLES[metric.source], name
        for series in found:
            own = {label for label in series["metric"] if not label.startswith("otel_scope")}
            assert own - {"__name__", "job", "instance", "le"} <= labels, name
        if name.endswith("_bucket"):
            assert {float(series["metric"]["le"]) for series in found} == {*metric.buckets, float("inf")}
        for attribute in metric.attributes:
            values = {series["metric"].get(attribute.label) for series in found} - {None}
            assert not attribute.values or values <= set(attribute.values), (name, attribute.name)
            assert values or attribute.on_failure or attribute.optional, (name, attribute.name)
    assert prometheus.description(metric.prometheus_name) == metric.sentence
