"""The queries of a dashboard as Prometheus gets them."""

from infra.dashboards.panels import RATE, Dashboard


def expressions(dashboard: Dashboard) -> list[str]:
    """All of them, with Grafana's variables as Grafana fills them in."""
    queries = [query.expression for panel in dashboard.panels for query in panel.queries]
    return [expression.replace(RATE, "1m") for expression in queries]
