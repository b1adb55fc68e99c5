"""Where `weir top` has its figures from: a collector's metrics endpoint, or the application's consumers themselves.

A collector knows all of the metrics. The consumers say what they scale by and how their breakers are; what they do not
say stays unknown.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from pipelines.breaker.alarms import BreakerView
from schemas.errors import ModerationError
from workers.extras import extras_named
from workers.guard.names import ARRIVALS, BACKLOG, COMPLETIONS
from workers.serving.backlog_policy import OLDEST_AGE, PARTITIONS
from workers.tools.inspect.figures import Figures, figures_of
from workers.tools.inspect.scrapes import Scrapes, fetch

COLLECTOR = "http://localhost:8889/metrics"
Ask = Callable[[str], list[Any]]


class FigureSource(Protocol):
    """Something that can be looked at again and again.

    Attributes:
        name: what a user calls it.
        has_rates: whether all rates that it will ever know are known.
    """

    name: str

    @property
    def has_rates(self) -> bool: ...

    def look(self) -> None:
        """Take in how things are now.

        Raises:
            ModerationError: it gives no answer.
        """

    def figures(self) -> Figures:
        """As they were at the last look."""
        ...


class CollectorFigures:
    """The metrics endpoint of a collector."""

    def __init__(self, url: str) -> None:
        self.name = url
        self._scrapes = Scrapes()

    @property
    def has_rates(self) -> bool:
        """See `FigureSource`."""
        return self._scrapes.has_rates

    def look(self) -> None:
        """See `FigureSource`."""
        self._scrapes.see(fetch(self.name), time.monotonic())

    def figures(self) -> Figures:
        """See `FigureSource`."""
        return figures_of(self._scrapes)


class ApplicationFigures:
    """The consumers of a running application.

    Args:
        name: where it runs.
        ask: calls a method of each consumer; an answer may be an exception.
    """

    has_rates = True

    def __init__(self, name: str, ask: Ask) -> None:
        self.name = name
        self._ask = ask
        self._figures = figures_of(Scrapes())

    def look(self) -> None:
        """See `FigureSource`."""
        said = [answer for answer in self._ask("record_autoscaling_stats") if isinstance(answer, dict)]
        views = [answer[1] for answer in self._ask("breaker_view") if isinstance(answer, tuple)]
        if not said:
            raise ModerationError(f"{self.name}: no consumer answers")
        self._figures = _of_consumers(said, views)

    def figures(self) -> Figures:
        """See `FigureSource`."""
        return self._figures


@contextmanager
def figure_source(url: str | None, timeout_s: float) -> Iterator[FigureSource]:
    """What to look at, which has been looked at once.

    Args:
        url: of a collector; None: the usual one on this machine, or the application itself where there is none.
        timeout_s: that the application has to answer.

    Raises:
        ModerationError: neither gives an answer; says why of both.
    """
    collector = CollectorFigures(url or COLLECTOR)
    try:
        collector.look()
    except ModerationError as error:
        if url is not None:
            raise
        with _application(timeout_s, error) as source:
            yield source
        return
    yield collector


@contextmanager
def _application(timeout_s: float, no_collector: ModerationError) -> Iterator[FigureSource]:
    joined = False
    try:
        with extras_named():
            from workers.tools.inspect.replicas import joined_application  # Ray takes seconds
        with joined_application(timeout_s) as consumers:
            source = ApplicationFigures(consumers.where, consumers.ask)
            source.look()
            joined = True
            yield source
    except ModerationError as error:
        if joined:
            raise
        raise ModerationError(f"no collector ({no_collector}), and the application does not answer ({error})") from None


def _of_consumers(said: list[dict[str, float]], views: list[BreakerView]) -> Figures:
    def total(name: str) -> float | None:
        known = [figures[name] for figures in said if name in figures]
        return sum(known) if known else None

    backlog, completed = total(BACKLOG), total(COMPLETIONS)
    ages = [figures[OLDEST_AGE] for figures in said if OLDEST_AGE in figures]
    opened = [view for view in views if view.state == "open"]
    unknown = figures_of(Scrapes())
    return {
        **unknown,
        "consumers": len(said),
        "guard_replicas": None,
        "backlog": backlog,
        "oldest_age_s": max(ages, default=None),
        "consumed_per_s": total(ARRIVALS),
        "completed_per_s": completed,
        "drains_in_s": backlog / completed if backlog is not None and completed else None,
        "breaker": {
            "open": len(opened),
            "causes": sorted({str(view.cause) for view in opened}),
            "drift": max((view.drift.distance for view in views if view.drift is not None), default=None),
        },
        "group": {**unknown["group"], "partitions": total(PARTITIONS)},
    }
