"""The metric table: well-formed, bounded, conventional where it says so, and the only source of instruments."""

import ast
import re
from pathlib import Path

import pytest
from opentelemetry.semconv._incubating.metrics import messaging_metrics, process_metrics

from workers.telemetry.metrics import table
from workers.telemetry.metrics.definition import Attribute, Metric
from workers.telemetry.metrics.page import metrics_page
from workers.telemetry.metrics.table import METRICS

ROOT = Path(__file__).parents[4]
CONVENTIONS = {
    value
    for module in (messaging_metrics, process_metrics)
    for name, value in vars(module).items()
    if name.isupper() and isinstance(value, str)
}
UNITS = r"1|s|By|\{[a-z]+\}"
METER_METHODS = {"create_counter", "create_histogram", "create_up_down_counter", "create_gauge"}
OBSERVABLE = {"create_observable_counter", "create_observable_gauge", "create_observable_up_down_counter"}


def attributes() -> list[tuple[Metric, Attribute]]:
    return [(metric, attribute) for metric in METRICS for attribute in metric.attributes]


def test_every_row_of_the_module_is_in_the_table_once() -> None:
    rows = [value for value in vars(table).values() if isinstance(value, Metric)]

    assert sorted(metric.name for metric in METRICS) == sorted({metric.name for metric in rows})
    assert len({metric.prometheus_name for metric in METRICS}) == len(METRICS)
    assert len(METRICS) > 30


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_row_has_a_conventional_or_an_own_name_a_unit_and_a_sentence(metric: Metric) -> None:
    assert (metric.name in CONVENTIONS) is metric.conventional
    assert metric.conventional or metric.name.startswith("moderation.")
    assert re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", metric.name)
    assert re.fullmatch(UNITS, metric.unit)
    assert metric.sentence.endswith(".")
    assert bool(metric.buckets) is (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))


def test_every_attribute_is_closed_or_bounded_by_settings_and_no_metric_has_many_series() -> None:
    unbounded = {(metric.name, attribute.name) for metric, attribute in attributes() if not attribute.values}

    assert all(attribute.bound for _, attribute in attributes() if not attribute.values)
    assert {name for _, name in unbounded} == {
        "messaging.destination.name",
        "messaging.consumer.group.name",
        "moderation.tenant",
        "server.address",
    }
    for metric in METRICS:
        series = 1
        for attribute in metric.attributes:
            if not attribute.on_failure:
                series *= len(attribute.values) or 1
        assert series <= 200, f"{metric.name} has {series} series"


def test_p10_no_attribute_could_name_a_person_a_conversation_or_a_text() -> None:
    names = {attribute.name for _, attribute in attributes()}

    assert not [name for name in names if re.search(r"event_id|conversation|user|text|key|content|verdict_id", name)]


def test_a_tenant_is_told_apart_by_verdict_metrics_only_and_never_by_default() -> None:
    with_tenant = {metric.name for metric, attribute in attributes() if attribute.name == "moderation.tenant"}

    assert with_tenant == {"moderation.verdicts", "moderation.verdict.categories"}
    assert all(attribute.optional for _, attribute in attributes() if attribute.name == "moderation.tenant")


def test_instruments_are_made_in_one_file_and_meters_are_got_nowhere_else() -> None:
    makers = {
        str(path.relative_to(ROOT))
        for package in ("workers", "pipelines", "schemas")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in {*METER_METHODS, *OBSERVABLE, "get_meter"}
    }

    assert makers == {"workers/telemetry/metrics/instruments.py"}


def test_every_row_is_measured_by_some_call_site() -> None:
    used: set[str] = set()
    for path in (ROOT / "workers").rglob("*.py"):
        if path.is_relative_to(ROOT / "workers" / "metrics" / "table.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"histogram", "observe", "observe_value"}:
                used.add(ast.unparse(node.args[0]).rpartition(".")[2])
    rows = {name for name, value in vars(table).items() if isinstance(value, Metric)}

    assert used & rows == rows


def test_the_page_is_the_generated_one_and_names_every_metric_and_attribute_value() -> None:
    page = (ROOT / "infra" / "metrics.md").read_text(encoding="utf-8")

    assert page == metrics_page(), "run infra/metrics_page.py"
    for metric in METRICS:
        assert f"`{metric.name}`" in page
        assert f"`{metric.prometheus_name}`" in page


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        (table.CONSUMED, "messaging_client_consumed_messages_total"),
        (table.PROCESS_DURATION, "messaging_process_duration_seconds"),
        (table.IN_FLIGHT_BYTES, "moderation_in_flight_bytes"),
        (table.MEMORY, "process_memory_usage_bytes"),
        (table.DRIFT, "moderation_drift_distance_ratio"),
        (table.BREAKER_OPEN, "moderation_breaker_open"),
        (table.BATCH_TOKENS, "moderation_batch_tokens"),
    ],
)
def test_names_in_prometheus(metric: Metric, name: str) -> None:
    assert metric.prometheus_name == name
