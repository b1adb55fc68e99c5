"""What a row of the metric table is, and what Prometheus calls it.

Knows nothing of any metric or exporter.
"""

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "updowncounter", "gauge", "histogram"]
Source = Literal["stream", "guard", "ask", "deltas", "stream_guard", "all"]
_PROMETHEUS_UNITS = {"s": "seconds", "By": "bytes"}


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of a metric.

    Attributes:
        name: as OpenTelemetry writes it.
        values: all that it can be; empty where the settings decide, and then `bound` says by what.
        bound: why there cannot be many values, in words.
        on_failure: only there on what failed.
        optional: only there where a setting asks for it.
    """

    name: str
    values: tuple[str, ...] = ()
    bound: str = ""
    on_failure: bool = False
    optional: bool = False

    @property
    def label(self) -> str:
        """Its name in Prometheus."""
        return _legal(self.name)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: as OpenTelemetry writes it.
        kind: of instrument.
        unit: UCUM; `{…}` is a count of things.
        sentence: what is measured.
        source: whose process measures it: the consumer's, the guard replica's, the HTTP server's, the delta
            worker's, the stream guard replica's, or all.
        attributes: all that its series differ by within one process.
        buckets: upper bounds, of a histogram.
        conventional: the name is one of OpenTelemetry's semantic conventions.
    """

    name: str
    kind: Kind
    unit: str
    sentence: str
    source: Source
    attributes: tuple[Attribute, ...] = ()
    buckets: tuple[float, ...] = ()
    conventional: bool = False

    @property
    def prometheus_name(self) -> str:
        """Its name in Prometheus, as the collector's exporter translates it; a histogram's without its endings."""
        name = _legal(self.name)
        unit = _PROMETHEUS_UNITS.get(self.unit, "ratio" if self.unit == "1" and self.kind == "gauge" else "")
        if unit and unit not in name.split("_"):
            name = f"{name}_{unit}"
        return f"{name}_total" if self.kind == "counter" else name

    @property
    def series(self) -> tuple[str, ...]:
        """The names that queries may use."""
        name = self.prometheus_name
        return (f"{name}_bucket", f"{name}_count", f"{name}_sum") if self.kind == "histogram" else (name,)


def _legal(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_:]", "_", name)
