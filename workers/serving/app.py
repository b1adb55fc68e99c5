"""The Serve application: consumers bound to guard replicas, and whoever answers over HTTP.

`build_app` is the import path for `serve deploy` and RayService. Deployments are made here from plain classes:
a class decorated where it is defined would be pickled by value, with its module's globals.
"""

import warnings
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, RequestRouterConfig

from pipelines.policy import load_policy
from workers.ask.keys import read_keys
from workers.ask.replica import AskReplica
from workers.guard.names import APP_NAME as APP_NAME
from workers.guard.names import ASK as ASK
from workers.guard.names import DELTAS as DELTAS
from workers.guard.names import GUARD as GUARD
from workers.guard.names import SHADOW as SHADOW
from workers.guard.names import STREAM as STREAM
from workers.guard.names import STREAM_GUARD as STREAM_GUARD
from workers.guard.turn_client import ROUTER
from workers.serving.consumers.consumer_replica import STOP_MARGIN_S
from workers.serving.consumers.delta_replica import DeltaReplica
from workers.serving.consumers.stream_replica import StreamReplica
from workers.serving.deltas.replica import StreamGuardReplica
from workers.serving.guard_replica import DeployedGuardReplica
from workers.serving.shadow_replica import ShadowReplica
from workers.settings.loading import Settings, load_settings

HEALTH_PERIOD_S = 5.0
# Serve finds out that a replica has died by asking it. Where there is one guard replica, all work waits for that.
GUARD_HEALTH_PERIOD_S = 1.0
# A consumer has at most 64 calls under way. Beyond this number Ray's router backs off, for seconds at a time: a replica
# that could do 320 a second was given 23 (Ray 2.60, `weir bench latency`). The in-flight limits bound what waits.
CALLS_PER_REPLICA = 512
NO_OPINION = "workers.serving.backlog_policy:no_opinion"
ALL_REPLICAS = "workers.serving.backlog_policy:all_replicas"
SHADOW_STOP_S = 1.0
# Serve would write a line into a file for every call.
QUIET = {"enable_access_log": False}
# Shares of the interval, so that a change is decided on within two: Serve takes a figure and sends what it has, each at
# its own time, and forgets what is older than the look-back.
PUSH, LOOK_BACK = 0.5, 2.5


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
    load_policy(settings.candidate().policy.file)
    guard = _guard(settings) if settings.guard.enabled else None
    turns = stream_guard_of(settings) if settings.judges_turns else None
    beside = {}
    if settings.ask.enabled:
        beside["ask"] = _ask(settings, guard, turns if settings.ask.judges_turns else None)
    if settings.deltas.enabled and turns is not None:
        beside["deltas"] = _deltas(settings, turns, **({} if guard else beside))
    if guard is None:
        return beside["deltas" if settings.deltas.enabled else "ask"]
    stream = serve.deployment(
        StreamReplica,
        name=STREAM,
        **_replicas(settings, settings.serve.consumers, (settings.serve.consumers, settings.autoscaling.max_consumers)),
        health_check_period_s=HEALTH_PERIOD_S,
        graceful_shutdown_timeout_s=settings.delivery.drain_timeout_s + STOP_MARGIN_S,
        ray_actor_options={"num_cpus": settings.serve.cpus_per_consumer},
    )
    if settings.shadow.has_model:
        return stream.bind(settings, guard, _shadow(settings), **beside)
    return stream.bind(settings, guard, **beside)


def ask_application_of(settings: Settings) -> Application:
    """The application that answers over HTTP and does nothing else: no Kafka.

    Raises:
        ConfigurationError: policy or keys are wrong.
    """
    load_policy(settings.policy.file)
    fixed = settings.autoscaling.model_copy(update={"enabled": False})  # it follows Kafka's backlog
    settings = settings.model_copy(update={"autoscaling": fixed})
    guard = _guard(settings) if settings.guard.enabled else None
    return _ask(settings, guard, stream_guard_of(settings) if settings.ask.judges_turns else None)


def _ask(settings: Settings, guard: Application | None, turns: Application | None) -> Application:
    """The HTTP server: one, because two cannot have one port of a machine."""
    keys = settings.ask.keys_file
    # Ray builds the application on any pod of a cluster, and the folder is mounted into the one that answers.
    if keys is not None and keys.parent.exists():
        read_keys(keys)
    deployment = serve.deployment(
        AskReplica,
        name=ASK,
        **_replicas(settings, 1, (1, 1)),
        max_surge_percent=0,  # the old one has to leave the port
        health_check_period_s=GUARD_HEALTH_PERIOD_S,
        graceful_shutdown_timeout_s=settings.delivery.drain_timeout_s + STOP_MARGIN_S,
        ray_actor_options={"num_cpus": 0},
    )
    return deployment.bind(settings, guard) if turns is None else deployment.bind(settings, guard, turns)


def _guard(settings: Settings) -> Application:
    scaling = settings.autoscaling
    deployment = serve.deployment(
        DeployedGuardReplica,
        name=GUARD,
        **_replicas(settings, settings.guard.replicas, (scaling.min_replicas, scaling.max_replicas)),
        max_surge_percent=settings.guard.max_surge_percent,
        max_ongoing_requests=CALLS_PER_REPLICA,
        health_check_period_s=GUARD_HEALTH_PERIOD_S,
        graceful_shutdown_timeout_s=settings.delivery.drain_timeout_s,
        ray_actor_options={"num_cpus": settings.guard.cpus_per_replica, "num_gpus": settings.guard.gpus_per_replica},
        logging_config=QUIET,
    )
    return deployment.bind(settings)


def _deltas(settings: Settings, stream_guard: Application, **beside: Application) -> Application:
    deployment = serve.deployment(
        DeltaReplica,
        name=DELTAS,
        num_replicas=settings.deltas.consumers,
        health_check_period_s=HEALTH_PERIOD_S,
        graceful_shutdown_timeout_s=settings.delivery.drain_timeout_s + STOP_MARGIN_S,
        ray_actor_options={"num_cpus": settings.deltas.cpus_per_consumer},
    )
    return deployment.bind(settings, stream_guard, **beside)


def stream_guard_of(settings: Settings) -> Application:
    """The replicas that judge turns while they are written; the calls of a conversation keep to one of them."""
    chosen = settings.stream_guard
    deployment = serve.deployment(
        StreamGuardReplica,
        name=STREAM_GUARD,
        num_replicas=chosen.replicas,
        max_surge_percent=0,  # as with the guard's: an old one leaves its device first
        max_ongoing_requests=CALLS_PER_REPLICA,
        request_router_config=RequestRouterConfig(request_router_class=ROUTER),
        health_check_period_s=GUARD_HEALTH_PERIOD_S,
        graceful_shutdown_timeout_s=settings.delivery.drain_timeout_s,
        ray_actor_options={"num_cpus": chosen.cpus_per_replica, "num_gpus": chosen.gpus_per_replica},
        logging_config=QUIET,
    )
    return deployment.bind(settings)


def _shadow(settings: Settings) -> Application:
    """The candidate's replicas; they are asked for once the application runs, so it never waits for room for them."""
    guard = settings.guard
    deployment = serve.deployment(
        ShadowReplica,
        name=SHADOW,
        autoscaling_config=AutoscalingConfig(
            min_replicas=0,
            initial_replicas=0,
            max_replicas=settings.shadow.replicas,
            upscale_delay_s=0,
            policy=AutoscalingPolicy(policy_function=ALL_REPLICAS),
        ),
        max_ongoing_requests=CALLS_PER_REPLICA,
        graceful_shutdown_timeout_s=SHADOW_STOP_S,
        logging_config=QUIET,
        ray_actor_options={"num_cpus": guard.cpus_per_replica, "num_gpus": guard.gpus_per_replica},
    )
    return deployment.bind(settings.candidate())


def _replicas(settings: Settings, first: int, bounds: tuple[int, int]) -> dict[str, Any]:
    """How many replicas a deployment has, or between what bounds. The policy itself is the application's."""
    chosen = settings.autoscaling
    if not chosen.enabled:
        return {"num_replicas": first}
    with warnings.catch_warnings():
        # Said to be replaced by an environment variable, which Ray 2.60 does not read.
        warnings.filterwarnings("ignore", "The `metrics_interval_s` field", DeprecationWarning)
        return {
            "autoscaling_config": AutoscalingConfig(
                min_replicas=bounds[0],
                initial_replicas=max(first, bounds[0]),
                max_replicas=bounds[1],
                upscale_delay_s=chosen.upscale_delay_s,
                downscale_delay_s=chosen.downscale_delay_s,
                downscale_to_zero_delay_s=chosen.downscale_to_zero_delay_s,
                metrics_interval_s=PUSH * chosen.interval_s,
                look_back_period_s=LOOK_BACK * chosen.interval_s,
                policy=AutoscalingPolicy(policy_function=NO_OPINION),
            )
        }
