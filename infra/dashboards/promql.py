"""PromQL of the kinds that the dashboards need, over metrics of the table."""

from infra.dashboards.panels import RATE, Query
from workers.telemetry.metrics.definition import Metric


def rate(metric: Metric, *, by: str = "", where: str = "") -> str:
    """Per second, summed over all processes; of a histogram, how often something was measured."""
    name = f"{metric.prometheus_name}_count" if metric.kind == "histogram" else metric.prometheus_name
    return f"sum{_by(by)}(rate({name}{_where(where)}[{RATE}]))"


def total(metric: Metric, *, by: str = "", where: str = "") -> str:
    """Now, summed over all processes."""
    return f"sum{_by(by)}({metric.prometheus_name}{_where(where)})"


def share(part: str, whole: str) -> str:
    """A ratio; nothing where there is nothing to divide by."""
    return f"{part} / ({whole} > 0)"


def mean(metric: Metric) -> str:
    """Mean of what a histogram measured."""
    name = metric.prometheus_name
    return f"sum(rate({name}_sum[{RATE}])) / sum(rate({name}_count[{RATE}]))"


def quantiles(metric: Metric, what: str, *levels: float, where: str = "") -> tuple[Query, ...]:
    """Quantiles of what a histogram measured, as queries."""
    buckets = f"sum by (le) (rate({metric.prometheus_name}_bucket{_where(where)}[{RATE}]))"
    return tuple(Query(f"histogram_quantile({level:g}, {buckets})", f"{what}, p{level * 100:g}") for level in levels)


def _by(labels: str) -> str:
    return f" by ({labels}) " if labels else ""


def _where(matchers: str) -> str:
    return f"{{{matchers}}}" if matchers else ""
