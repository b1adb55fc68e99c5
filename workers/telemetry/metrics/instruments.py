"""Makes instruments from the table's rows; the only caller of OpenTelemetry's `create_…`.

What a hot loop counts anyway is not told to an instrument each time, but read at each collection: pass a function that
reads it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Histogram, Observation

from workers.telemetry.metrics.definition import Metric

METER: Final = "weir"
Attributes = Mapping[str, str]
Observed = Callable[[], Iterable[tuple[float, Attributes]]]
NO_ATTRIBUTES: Final[Attributes] = {}


def histogram(metric: Metric) -> Histogram:
    """Takes single measurements."""
    assert metric.kind == "histogram"
    return metrics.get_meter(METER).create_histogram(
        metric.name, metric.unit, metric.sentence, explicit_bucket_boundaries_advisory=metric.buckets
    )


def observe(metric: Metric, read: Observed) -> None:
    """Have `read` called at each collection, on the exporter's thread; it gives values and their attributes."""

    def callback(_: CallbackOptions) -> list[Observation]:
        return [Observation(value, dict(attributes)) for value, attributes in read()]

    meter = metrics.get_meter(METER)
    create = {
        "counter": meter.create_observable_counter,
        "updowncounter": meter.create_observable_up_down_counter,
        "gauge": meter.create_observable_gauge,
    }[metric.kind]
    create(metric.name, [callback], metric.unit, metric.sentence)


def observe_value(metric: Metric, read: Callable[[], float | None], attributes: Attributes = NO_ATTRIBUTES) -> None:
    """The same for a metric of one series; None while there is no figure."""
    observe(metric, lambda: [] if (value := read()) is None else [(value, attributes)])
