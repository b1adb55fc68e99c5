"""Writes the metric table as a page, so that what is documented is what is measured."""

from workers.telemetry.metrics.definition import Attribute, Metric
from workers.telemetry.metrics.table import METRICS

_HEAD = """\
# Metrics

Written by `infra/metrics_page.py` from `workers/telemetry/metrics/table.py`; do not edit.

Exported over OTLP to `OTEL_EXPORTER_OTLP_ENDPOINT`; off without it. With `infra/collector/collector.yaml`, a collector
offers them to Prometheus and to `weir top`; the second line of each name is what Prometheus calls it.
Every series has the labels `job` (`weir-stream`, `weir-guard`, `weir-ask`, `weir-deltas` or `weir-stream-guard`) and
`instance` (one process) beside those below.
Attributes have the values that are listed, and no others; those in *italics* are there on failures only, those in
brackets only where the settings ask for them.
"""
_SOURCES = {
    "stream": "Consumers (`weir-stream`)",
    "guard": "Guard replicas (`weir-guard`)",
    "ask": "HTTP servers (`weir-ask`)",
    "deltas": "Delta workers (`weir-deltas`)",
    "stream_guard": "Stream guard replicas (`weir-stream-guard`)",
    "all": "All",
}


def metrics_page() -> str:
    """The page, in Markdown."""
    parts = [_HEAD]
    for source, title in _SOURCES.items():
        rows = [_row(metric) for metric in METRICS if metric.source == source]
        parts.append(
            f"## {title}\n\n| metric | kind, unit | what it is | attributes |\n|---|---|---|---|\n"
            + "\n".join(rows)
            + "\n"
        )
    return "\n".join(parts)


def _row(metric: Metric) -> str:
    convention = " (semantic convention)" if metric.conventional else ""
    buckets = f" Buckets: {', '.join(f'{bound:g}' for bound in metric.buckets)}." if metric.buckets else ""
    attributes = "<br>".join(map(_attribute, metric.attributes))
    name = f"`{metric.name}`{convention}<br>`{metric.prometheus_name}`"
    return f"| {name} | {metric.kind}, `{metric.unit}` | {metric.sentence}{buckets} | {attributes} |"


def _attribute(attribute: Attribute) -> str:
    name = f"`{attribute.name}`"
    name = f"*{name}*" if attribute.on_failure else f"[{name}]" if attribute.optional else name
    values = ", ".join(f"`{value}`" for value in attribute.values) or f"from {attribute.bound}"
    return f"{name}: {values}"
