"""The Serve application: consumers bound to guard replicas.

`build_app` is the import path for `serve deploy` and RayService. Deployments are made here from plain classes:
a class decorated where it is defined would be pickled by value, with its module's globals.
"""

from typing import Any

from ray import serve
from ray.serve import Application

from pipelines.policy import load_policy
from workers.serving.guard_replica import GuardReplica
from workers.serving.stream_replica import STOP_MARGIN_S, StreamReplica
from workers.settings import Settings, load_settings

APP_NAME = "weir"
GUARD = "GuardDeployment"
STREAM = "StreamWorker"
HEALTH_PERIOD_S = 5.0
# A consumer has at most 64 calls under way. Beyond this number Ray's router backs off, for seconds at a time: a replica
# that could do 320 a second was given 23 (Ray 2.60, `weir bench latency`). The in-flight limits bound what waits.
CALLS_PER_REPLICA = 512


def build_app(args: dict[str, Any] | None = None) -> Application:
    """Build the application.

    Args:
        args: settings sections that win over environment and file, as `weir.yaml` has them.

    Raises:
        ConfigurationError: names the setting.
    """
    return application_of(load_settings(**(args or {})))


def application_of(settings: Settings) -> Application:
    """The application of given settings.

    Raises:
        ConfigurationError: the policy file is wrong; found out here, where a replica would fail start after start.
    """
    load_policy(settings.policy.file)
    guard = serve.deployment(
        GuardReplica,
        name=GUARD,
        num_replicas=settings.guard.replicas,
        max_ongoing_requests=CALLS_PER_REPLICA,
        health_check_period_s=HEALTH_PERIOD_S,
        graceful_shutdown_timeout_s=settings.delivery.drain_timeout_s,
        ray_actor_options={"num_cpus": settings.guard.cpus_per_replica, "num_gpus": settings.guard.gpus_per_replica},
    )
    stream = serve.deployment(
        StreamReplica,
        name=STREAM,
        num_replicas=settings.serve.consumers,
        health_check_period_s=HEALTH_PERIOD_S,
        graceful_shutdown_timeout_s=settings.delivery.drain_timeout_s + STOP_MARGIN_S,
        ray_actor_options={"num_cpus": settings.serve.cpus_per_consumer},
    )
    return stream.bind(settings, guard.bind(settings))
