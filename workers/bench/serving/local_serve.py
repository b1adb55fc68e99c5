"""Starts Serve on this machine for a benchmark, with replicas on it, and describes them.

Measures nothing.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import ray
from ray import serve

from schemas.errors import ModerationError
from workers.serving.app import QUIET
from workers.serving.guard_replica import keep_collections_short
from workers.serving.ray_session import start_ray
from workers.settings.loading import Settings
from workers.settings.sections import GuardSettings

# For finding the capacity: more than a machine without a GPU can do at once, and batches short enough for a short run.
CALLS_UNDER_WAY = 64
# More than are ever under way: what waits is to wait in the replica, for the batcher that is measured. Calls beyond it
# wait in Serve's router, which looks for room twice a second once it has found none: nothing else would be seen.
ONGOING = 100_000


@contextmanager
def local_serve(cpus: float) -> Iterator[None]:
    """Serve on a Ray of its own on this machine, with so many logical CPUs at least."""
    logging.getLogger("ray.serve").setLevel(logging.CRITICAL)
    start_ray(None, cpus=cpus, logs=False, level=logging.CRITICAL)  # a cluster at hand may be somebody's production
    try:
        serve.start(proxy_location="Disabled")
        keep_collections_short()  # who sends in time must not stand still
        yield
    finally:
        serve.shutdown()
        ray.shutdown()


def start_replica(
    settings: Settings,
    name: str,
    replica: type,
    arguments: tuple[object, ...],
    gpu_share: float = 1.0,
    replicas: int = 1,
) -> Any:
    """Start a replica, or several, and return its handle; raises ModerationError with what Serve says."""
    guard = settings.guard
    deployment = serve.deployment(
        replica,
        name=name,
        num_replicas=replicas,
        max_ongoing_requests=ONGOING,
        logging_config=QUIET,
        ray_actor_options={"num_cpus": guard.cpus_per_replica, "num_gpus": guard.gpus_per_replica * gpu_share},
    )
    try:
        return serve.run(deployment.bind(*arguments), name=name, route_prefix=None)
    except RuntimeError as error:
        # A stack trace of the replica's, whose last line is what its constructor said.
        said = serve.status().applications[name].deployments[name].message or str(error)
        raise ModerationError(f"the replica {name} did not start: {said.splitlines()[-1]}") from error


def neither_compiled_nor_kept(settings: Settings) -> Settings:
    """The same with a guard that compiles nothing, which takes processors, and keeps no judgement for equal prompts."""
    guard = settings.guard.model_copy(update={"compile": False, "cache_size": 0})
    return settings.model_copy(update={"guard": guard})


def engine_name(guard: GuardSettings, pass_ms: float | None) -> str:
    """The model, or the stand-in for it; see `FixedPassEngine`."""
    return guard.model if pass_ms is None else f"stand-in, {pass_ms:g} ms a batch"


def versions() -> dict[str, str]:
    """Of what is measured."""
    return {name: version(name) for name in ("weir-moderation", "ray")}
