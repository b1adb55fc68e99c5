"""The application's autoscaling policy, as Ray Serve calls it: the consumers' figures drive the guard's replicas.

Serve's controller unpickles `BacklogPolicy` and calls it about every 0.1 s with what all replicas have reported, so it
does no I/O and imports little. Serve applies the deployments' bounds and delays to what is returned here, and leaves a
deployment that is missing from it as it is. `pipelines.autoscaling` has the arithmetic.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from pipelines.autoscaling import Demand, Goal, ReplicaPolicy, Supply, consumers_needed
from schemas.errors import ConfigurationError
from workers.guard.names import ARRIVALS, ASK, BACKLOG, COMPLETIONS, GUARD, SHADOW, STREAM
from workers.settings.sections import AutoscalingSettings
from workers.telemetry.log import log_event

log = logging.getLogger("ray.serve")  # the controller's own: nobody reads another there
OLDEST_AGE, PARTITIONS, ALL_PARTITIONS, BUSY = "oldest_age_s", "partitions", "all_partitions", "busy"
Stats = dict[str, float]


class BacklogPolicy:
    """Application-level policy; `policy_kwargs` are the settings section `autoscaling`.

    Args:
        clock: seconds, monotonic.
        settings: keys of the section, those that are left out have its defaults.

    Raises:
        ConfigurationError: names the key.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, **settings: Any) -> None:
        try:
            self._settings = AutoscalingSettings(**settings)
        except ValidationError as error:
            wrong = [f"autoscaling.{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
            raise ConfigurationError("; ".join(wrong)) from None
        self._clock = clock
        chosen = self._settings
        self._policy = ReplicaPolicy(
            Goal(chosen.target_seconds_behind, startup_s=chosen.startup_s, replica_rate=chosen.replica_rate)
        )
        self._wanted: int | None = None

    def __call__(self, contexts: Mapping[Any, Any]) -> tuple[dict[Any, int], dict[Any, dict[str, Any]]]:
        """Replicas by deployment id, where there is an opinion; and no state, which this object keeps itself."""
        by_name = {context.deployment_name: (key, context) for key, context in contexts.items()}
        shadow = {key: all_replicas(context)[0] for key, context in [by_name[SHADOW]]} if SHADOW in by_name else {}
        if GUARD not in by_name or STREAM not in by_name:
            return shadow, {}
        (guard_id, guard), (stream_id, stream) = by_name[GUARD], by_name[STREAM]
        reports = newest(stream.raw_metrics or {}, stream.running_replicas)
        busy = [report[BUSY] for report in newest(guard.raw_metrics or {}, guard.running_replicas) if BUSY in report]
        supply = Supply(
            guard.current_num_replicas,
            guard.target_num_replicas,
            sum(busy) / len(busy) if busy and len(busy) == guard.current_num_replicas else None,
        )
        demand = demand_of(reports)
        if ASK in by_name:
            _, ask = by_name[ASK]
            demand = with_asks(demand, newest(ask.raw_metrics or {}, ask.running_replicas))
        wanted = self._policy.desired(self._clock(), demand, supply)
        if wanted is None:
            return shadow, {}
        if wanted != self._wanted:
            log.info(log_event("replicas_wanted", wanted=wanted, ordered=guard.target_num_replicas))
            self._wanted = wanted
        partitions = max(int(report.get(ALL_PARTITIONS, 0)) for report in reports if report)
        consumers = consumers_needed(
            min(wanted, guard.capacity_adjusted_max_replicas), self._settings.replicas_per_consumer, partitions
        )
        return {**shadow, guard_id: wanted, stream_id: consumers}, {}


def no_opinion(context: Any) -> tuple[int, dict[str, Any]]:
    """Deployment-level policy of both deployments: they stay as they are.

    It is asked only where the application was deployed without `autoscaling_policy`. Serve's default would scale by
    calls under way, which say nothing of a backlog in Kafka.
    """
    return context.target_num_replicas, {}


def all_replicas(context: Any) -> tuple[int, dict[str, Any]]:
    """Deployment-level policy of the shadow lane's candidate: as many as are set, once there is room for them."""
    return context.capacity_adjusted_max_replicas, {}


def newest(raw_metrics: Mapping[str, Mapping[Any, Sequence[Any]]], replicas: Iterable[Any]) -> list[Stats]:
    """The newest value of each figure of each running replica; an empty report where a replica has none.

    Not the mean over the look-back, which lags behind a backlog that grows.
    """
    return [
        {name: float(series[replica][-1].value) for name, series in raw_metrics.items() if series.get(replica)}
        for replica in replicas
    ]


def demand_of(reports: Sequence[Stats]) -> Demand | None:
    """The figures of all consumers together; None where none of them owns a partition.

    They are complete once every partition is among them.
    """
    known = [report for report in reports if report.get(PARTITIONS)]
    if not known:
        return None
    ages = [report.get(OLDEST_AGE) for report in known]
    arrivals = [report.get(ARRIVALS) for report in known]
    completions = [report.get(COMPLETIONS) for report in known]
    owned = sum(report[PARTITIONS] for report in known)
    return Demand(
        backlog=sum(report[BACKLOG] for report in known),
        oldest_age_s=max((age for age in ages if age is not None), default=None),
        arrival_rate=_sum(arrivals),
        completion_rate=_sum(completions),
        is_complete=owned >= max(report[ALL_PARTITIONS] for report in known) and None not in arrivals,
    )


def with_asks(demand: Demand | None, reports: Sequence[Stats]) -> Demand | None:
    """The same with what is asked over HTTP: an item is a record's work, also one that was refused for want of time."""
    asked = [report for report in reports if ARRIVALS in report]
    if demand is None or demand.arrival_rate is None or not asked:
        return demand
    return replace(
        demand,
        backlog=demand.backlog + sum(report[BACKLOG] for report in asked),
        arrival_rate=demand.arrival_rate + sum(report[ARRIVALS] for report in asked),
        completion_rate=_sum([demand.completion_rate, *(report[COMPLETIONS] for report in asked)]),
    )


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
