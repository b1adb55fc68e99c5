"""Grafana dashboards as data: panels of queries, laid out in rows, as the JSON that Grafana imports.

Knows nothing of any metric.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT, STAT_HEIGHT = 24, 8, 4
SCHEMA_VERSION = 39
RATE = "$__rate_interval"
Unit = Literal["short", "s", "bytes", "percentunit", "reqps", "none"]


@dataclass(frozen=True)
class Query:
    """PromQL, and the name of its series: Grafana's legend, with labels in braces."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One graph or figure.

    Attributes:
        title: a few words.
        sentence: what to read from it.
        unit: Grafana's.
        kind: a graph over time, or the newest figure.
        stacked: areas above one another, as shares of the whole if `percentunit`.
        limit: a line to stay below.
        width: of 24 columns.
    """

    title: str
    sentence: str
    queries: tuple[Query, ...]
    unit: Unit = "short"
    kind: Literal["timeseries", "stat"] = "timeseries"
    stacked: bool = False
    limit: float | None = None
    width: int = 8


@dataclass(frozen=True)
class Dashboard:
    """One page: rows of panels."""

    uid: str
    title: str
    sentence: str
    rows: dict[str, tuple[Panel, ...]] = field(default_factory=dict)

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All of them."""
        return tuple(panel for panels in self.rows.values() for panel in panels)

    def to_grafana(self) -> dict[str, Any]:
        """The JSON model that Grafana imports."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.sentence,
            "tags": ["weir"],
            "schemaVersion": SCHEMA_VERSION,
            "editable": True,
            "refresh": "30s",
            "time": {"from": "now-6h", "to": "now"},
            "templating": {
                "list": [{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}]
            },
            "panels": self._laid_out(),
        }

    def _laid_out(self) -> list[dict[str, Any]]:
        placed: list[dict[str, Any]] = []
        y = 0
        for title, panels in self.rows.items():
            placed.append(
                {
                    "id": len(placed) + 1,
                    "type": "row",
                    "title": title,
                    "collapsed": False,
                    "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
                    "panels": [],
                }
            )
            y += 1
            x = tallest = 0
            for panel in panels:
                height = HEIGHT if panel.kind == "timeseries" else STAT_HEIGHT
                if x + panel.width > WIDTH:
                    x, y, tallest = 0, y + tallest, 0
                place = {"x": x, "y": y, "w": panel.width, "h": height}
                placed.append({"id": len(placed) + 1, "gridPos": place, **_model(panel)})
                x, tallest = x + panel.width, max(tallest, height)
            y += tallest
        return placed


def _model(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
    defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    options: dict[str, Any] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value"}
    if panel.kind == "timeseries":
        share = "percent" if panel.unit == "percentunit" else "normal"
        defaults["custom"] = {
            "fillOpacity": 30 if panel.stacked else 8,
            "showPoints": "never",
            "stacking": {"mode": share if panel.stacked else "none"},
            "thresholdsStyle": {"mode": "off" if panel.limit is None else "line"},
        }
        options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.sentence,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "expr": query.expression,
                "legendFormat": query.legend,
                "datasource": DATASOURCE,
            }
            for number, query in enumerate(panel.queries)
        ],
    }
