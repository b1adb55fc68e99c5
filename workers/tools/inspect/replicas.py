"""Asks every consumer of a running application, from another process, by Serve's `broadcast`."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray import serve
from ray.serve.exceptions import DeploymentUnavailableError

from schemas.errors import ModerationError
from workers.serving.app import APP_NAME, STREAM
from workers.serving.ray_session import ON_THIS_MACHINE, shown_address, start_ray
from workers.settings.loading import ray_address


def ask_consumers(method: str, *arguments: object, timeout_s: float) -> tuple[list[Any], dict[str, int]]:
    """Call a method of every consumer replica that runs.

    Returns:
        What each said, or the exception in its place; and how many replicas Serve knows, by state.

    Raises:
        ModerationError: there is no Ray, or the application is not on it; says where it looked.
    """
    with _joined_ray(timeout_s) as where:
        application = serve.status().applications.get(APP_NAME)
        if application is None or STREAM not in application.deployments:
            raise ModerationError(f"{where}: the application {APP_NAME} does not run there")
        states = {str(state): count for state, count in application.deployments[STREAM].replica_states.items()}
        return _broadcast(method, arguments, timeout_s), states


def _broadcast(method: str, arguments: tuple[object, ...], timeout_s: float) -> list[Any]:
    handle: Any = serve.get_deployment_handle(STREAM, APP_NAME)
    try:
        answers: list[Any] = handle.broadcast(method, *arguments).results(timeout_s=timeout_s, return_exceptions=True)
    except (DeploymentUnavailableError, TimeoutError):  # no replica runs
        return []
    return answers


@contextmanager
def _joined_ray(timeout_s: float) -> Iterator[str]:
    """Join the cluster of RAY_ADDRESS, or the one that runs on this machine, and leave it again."""
    logging.getLogger("ray.serve").setLevel(logging.CRITICAL)
    address = ray_address() or ON_THIS_MACHINE
    where = shown_address(address)
    try:
        start_ray(address, logs=False, level=logging.CRITICAL, reach_s=timeout_s)
    except RuntimeError as error:
        raise ModerationError(f"{where}: {' '.join(str(error).split())}") from None
    try:
        yield where
    finally:
        ray.shutdown()
