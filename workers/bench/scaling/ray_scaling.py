"""Ray Serve's own autoscaling arithmetic, called outside a cluster, where the caller sets the time. For simulations.

`replica_queue_length_autoscaling_policy`, Serve's default, and the delays around every policy are the controller's own
functions: private ones of Ray 2.60, because the public ones read the clock.
"""

from collections.abc import Callable
from typing import Any

from ray.serve import autoscaling_policy as ray_policy
from ray.serve._private.common import DeploymentID
from ray.serve.config import AutoscalingConfig, AutoscalingContext

After = Callable[[float, float, int, int], int]


def with_delays(**config: Any) -> After:
    """Bounds, factors and delays of an `AutoscalingConfig`, as the controller applies them to what a policy returns.

    Returns:
        Takes the time, what the policy wants, replicas that run and replicas that are ordered; gives what to order.
    """
    made = AutoscalingConfig(**config)
    state: dict[str, Any] = {}

    def after(now: float, wanted: float, running: int, target: int) -> int:
        nonlocal state
        scaled = ray_policy._apply_scaling_factors(wanted, running, made)  # noqa: SLF001 - see above
        if running > 0 or scaled <= 0:
            scaled, state = ray_policy._apply_delay_logic(max(0, scaled), target, made, state, now)  # noqa: SLF001
        return int(min(made.max_replicas, max(made.min_replicas, scaled)))

    return after


def default_wish(target_ongoing_requests: float) -> Callable[[float, int, int], float]:
    """What Serve's default policy wants.

    Args:
        target_ongoing_requests: requests that a replica should have.

    Returns:
        Takes requests of the whole deployment, running and queued, replicas that run and replicas that are ordered.
    """
    config = AutoscalingConfig(target_ongoing_requests=target_ongoing_requests, max_replicas=10_000)

    def wish(requests: float, running: int, target: int) -> float:
        context = AutoscalingContext(
            deployment_id=DeploymentID("guard", "simulated"),
            deployment_name="guard",
            app_name="simulated",
            current_num_replicas=running,
            target_num_replicas=target,
            running_replicas=[],
            total_num_requests=requests,
            total_queued_requests=None,
            aggregated_metrics=None,
            raw_metrics=None,
            capacity_adjusted_min_replicas=0,
            capacity_adjusted_max_replicas=10_000,
            policy_state={},
            last_scale_up_time=None,
            last_scale_down_time=None,
            current_time=None,
            config=config,
        )
        wanted: float = ray_policy._core_replica_queue_length_policy(context)[0]  # noqa: SLF001 - see above
        return wanted

    return wish
