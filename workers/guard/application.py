"""The guard replicas of the application that runs on this cluster, for background work.

Works only in a process that Ray started, or that has joined the cluster.
"""

from ray import serve

from workers.guard.client import BACKGROUND_CALLS, GuardClient
from workers.guard.lane import Lane
from workers.guard.names import APP_NAME, GUARD

MOST_CALLS = BACKGROUND_CALLS


def background_guard(timeout_s: float) -> GuardClient:
    """A way to the replicas that lets live calls go first.

    Args:
        timeout_s: of a call, its wait behind live ones included.
    """
    return GuardClient(serve.get_deployment_handle(GUARD, APP_NAME), timeout_s, lane=Lane.BACKGROUND)
