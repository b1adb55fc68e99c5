"""What a metrics endpoint says, scrape by scrape: values now, and how fast they grow.

A worker exports at intervals (`OTEL_METRIC_EXPORT_INTERVAL`, 60 s unless set), and the endpoint repeats the last export
until the next. So growth is measured from change to change of each process, not from scrape to scrape.
Knows nothing of what is measured.
"""

import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from schemas.errors import ModerationError
from workers.telemetry.metrics.definition import Metric

TIMEOUT_S = 5.0
PATIENCE = 1.5  # intervals after which unchanged figures of a process mean that it is idle
Labels = frozenset[tuple[str, str]]
Samples = dict[tuple[str, Labels], float]


class _Seen(NamedTuple):
    at: float
    samples: Samples


class _Process:
    """The last two states of one process that differ, and when they came.

    When the first one came is not known: it had been there for a while when it was seen.
    """

    def __init__(self, first: _Seen) -> None:
        self.newest = first
        self.before: _Seen | None = None
        self._is_first = True

    def see(self, seen: _Seen) -> None:
        idle_s = seen.at - self.newest.at
        usual_s = self.newest.at - self.before.at if self.before else float("inf")
        if seen.samples != self.newest.samples or idle_s > PATIENCE * usual_s + 1:
            self.before, self.newest = None if self._is_first else self.newest, seen
            self._is_first = False


class Scrapes:
    """All processes behind one endpoint, as they were seen."""

    def __init__(self) -> None:
        self._processes: dict[tuple[str, str], _Process] = {}

    def see(self, text: str, at: float) -> None:
        """Take in what the endpoint says now; processes that it no longer names are forgotten.

        Args:
            text: in Prometheus's format.
            at: monotonic seconds.

        Raises:
            ModerationError: it is not in that format.
        """
        found: dict[tuple[str, str], Samples] = {}
        try:
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    labels = dict(sample.labels)
                    process = labels.pop("job", ""), labels.pop("instance", "")
                    own = frozenset(
                        (name, value) for name, value in labels.items() if not name.startswith("otel_scope")
                    )
                    found.setdefault(process, {})[sample.name, own] = sample.value
        except (ValueError, KeyError) as error:
            raise ModerationError(f"what the endpoint says is not in Prometheus's format: {error}") from None
        self._processes = {name: process for name, process in self._processes.items() if name in found}
        for name, samples in found.items():
            seen = _Seen(at, samples)
            if name in self._processes:
                self._processes[name].see(seen)
            else:
                self._processes[name] = _Process(seen)

    @property
    def has_rates(self) -> bool:
        """True once every process was seen to change twice."""
        return bool(self._processes) and all(process.before for process in self._processes.values())

    def by_process(self, metric: Metric) -> list[float]:
        """A metric's sum in each process that has it."""
        return [
            sum(values)
            for process in self._processes.values()
            if (values := [value for _, value in _of(process.newest.samples, metric.prometheus_name)])
        ]

    def total(self, name: str, label: str = "", value: str = "") -> float | None:
        """Sum of a series name over all processes, of those with a label if one is given; None where there is none."""
        values = [
            found
            for process in self._processes.values()
            for labels, found in _of(process.newest.samples, name)
            if not label or (label, value) in labels
        ]
        return sum(values) if values else None

    def by_label(self, name: str, label: str, *, rate: bool = False) -> dict[str, float]:
        """Sums, or growth a second, by the value of a label; series without it have the empty value."""
        sums: dict[str, float] = {}
        for labels, value in self._rates(name) if rate else self._values(name):
            key = dict(labels).get(label, "")
            sums[key] = sums.get(key, 0.0) + value
        return sums

    def rate(self, name: str) -> float | None:
        """Growth a second over all processes; None before any was seen to change twice."""
        rates = [value for _, value in self._rates(name)]
        return sum(rates) if rates else None

    def _values(self, name: str) -> Iterator[tuple[Labels, float]]:
        for process in self._processes.values():
            yield from _of(process.newest.samples, name)

    def _rates(self, name: str) -> Iterator[tuple[Labels, float]]:
        for process in self._processes.values():
            newest, before = process.newest, process.before
            if before is None:
                continue
            for labels, value in _of(newest.samples, name):
                grown = value - before.samples.get((name, labels), 0.0)
                yield labels, max(0.0, grown) / (newest.at - before.at)


def fetch(url: str) -> str:
    """What an endpoint says now.

    Raises:
        ModerationError: names the endpoint and why it gave no answer.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise ModerationError(f"{url}: not an http address")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            return str(answer.read().decode("utf-8", "replace"))
    except urllib.error.HTTPError as error:
        raise ModerationError(f"{url}: {error.code} {error.reason}") from None
    except (OSError, urllib.error.URLError) as error:
        raise ModerationError(f"{url}: {getattr(error, 'reason', error)}") from None


def quantile(level: float, rates: dict[str, float]) -> float | None:
    """A quantile of what a histogram measured, from the growth of its buckets by upper bound; as Prometheus's.

    Returns:
        None where nothing was measured.
    """
    buckets = sorted((float(bound), count) for bound, count in rates.items())
    if not buckets or buckets[-1][1] <= 0:
        return None
    wanted = level * buckets[-1][1]
    lower = below = 0.0
    for bound, count in buckets:
        if count >= wanted:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * (wanted - below) / (count - below) if count > below else bound
        lower, below = bound, count
    return lower


def _of(samples: Samples, name: str) -> Iterable[tuple[Labels, float]]:
    return [(labels, value) for (found, labels), value in samples.items() if found == name]
