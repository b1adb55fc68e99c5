"""Metrics of this process in memory, for tests that look at single figures."""

from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint

Series = dict[tuple[tuple[str, Any], ...], float]
Measured = Callable[[str], Series]


def series_of(reader: InMemoryMetricReader, name: str) -> Series:
    """Values by attributes of one metric; of a histogram, the number of measurements."""
    data = reader.get_metrics_data()
    found: Series = {}
    for resource in data.resource_metrics if data else []:
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
            if metric.name != name:
                continue
            for point in metric.data.data_points:
                key = tuple(sorted((point.attributes or {}).items()))
                if isinstance(point, HistogramDataPoint):
                    found[key] = point.count
                elif isinstance(point, NumberDataPoint):
                    found[key] = point.value
    return found
