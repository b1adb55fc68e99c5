"""Carries out an audit as it was ordered: estimates it, or drives it from its inputs to its finished manifest.

Shows nothing; `weir audit run` does.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from schemas.errors import ConfigurationError
from workers.audit.actors import Pool, ray_for
from workers.audit.estimate import estimate
from workers.audit.lane import ApplicationReplicas, OwnEngine, used_policy
from workers.audit.manifest import BlockMarker, Manifest
from workers.audit.run import Asked, AuditRun
from workers.audit.run_lock import driving
from workers.audit.source import AuditInput, Progress, sample
from workers.settings.loading import Settings, otel_variables, ray_address


@dataclass(frozen=True)
class AuditOrder:
    """What one audit shall do.

    Attributes:
        source: what it reads.
        into: the run's folder: a path or a URI.
        sample: so many rows, `1000`, or such a share, `2.5%`; None: all.
        since_run: a run whose rows are left out.
        on_application: judge on the replicas of `weir run`, behind its live traffic.
        actors: processes that judge; None: as many as guard replicas.
        rate: rows a second at most, over all actors.
        cache_size: answers that an actor keeps for texts that come again.
        keep_text: write the judged texts into the verdicts.
    """

    source: AuditInput
    into: str | None
    sample: str | None
    since_run: str | None
    on_application: bool
    actors: int | None
    rate: float | None
    cache_size: int
    keep_text: bool


def estimated(settings: Settings, order: AuditOrder, gpu: str, progress: Progress) -> dict[str, Any]:
    """What the run would be, see `workers.audit.estimate`.

    Raises:
        ConfigurationError: it cannot be ordered so.
    """
    plan, columns = order.source.plan(settings, order.into, progress)
    actors = order.actors or settings.guard.replicas
    taken = sample(order.sample, plan, columns, (order.into, order.since_run))
    found = estimate(settings, plan, columns, taken, actors, order.rate, gpu)
    if order.since_run is not None:
        found["at_most"] = "what --since-run leaves out is not taken off: only a run knows the model's digests"
    return found


@contextmanager
def begun(settings: Settings, order: AuditOrder, progress: Progress) -> Iterator[AuditRun]:
    """Plan the run, or take it up again, with nobody else driving it until the block ends.

    Args:
        settings: all settings.
        order: what it shall do.
        progress: told how many files have been looked at.

    Raises:
        ConfigurationError: it cannot be ordered so, or not into this folder.
        ModerationError: another process drives it.
    """
    # Before the inputs are read, which may take hours.
    with nullcontext() if order.into is None else driving(order.into) as still_ours:
        plan, columns = order.source.plan(settings, order.into, progress)
        if order.into is None or still_ours is None:
            raise ConfigurationError("--into: the folder to write the run to is needed")
        asked = Asked(
            run=order.into,
            plan=plan,
            columns=columns,
            sample=sample(order.sample, plan, columns, (order.into, order.since_run)),
            since_run=order.since_run,
            policy=used_policy(settings),
            block_rows=order.source.block_rows,
            keep_text=order.keep_text,
            cache_size=order.cache_size,
            rate=order.rate,
            max_event_bytes=settings.limits.max_event_bytes,
        )
        yield AuditRun(asked, still_ours)


def finished(
    run: AuditRun, settings: Settings, order: AuditOrder, told: Callable[[BlockMarker], None], *, logs: bool
) -> Manifest:
    """Do what is left of the run, on the cluster of RAY_ADDRESS or in this process.

    Args:
        run: as it was begun.
        settings: all settings.
        order: what it shall do.
        told: called with the marker of each block that is done now.
        logs: print what the actors write.

    Raises:
        ModerationError: what stopped the run, which can be taken up again.
    """
    guard, on_application = settings.guard, order.on_application
    actors = order.actors or guard.replicas
    # On the application's replicas an actor only reads, asks and writes.
    pool = Pool(actors, 1.0, 0.0) if on_application else Pool(actors, guard.cpus_per_replica, guard.gpus_per_replica)
    factory = ApplicationReplicas(settings) if on_application else OwnEngine(settings)
    address = ray_address() or ("auto" if on_application else None)
    with ray_for(address, pool, otel_variables(), logs=logs):
        return run.execute(factory, pool, told)
