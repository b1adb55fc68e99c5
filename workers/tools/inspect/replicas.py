"""Asks every replica of a running application, from another process, by Serve's `broadcast`."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray import serve
from ray.serve.exceptions import DeploymentUnavailableError

from schemas.errors import ModerationError
from workers.serving.app import APP_NAME, GUARD, STREAM
from workers.serving.ray_session import ON_THIS_MACHINE, shown_address, start_ray
from workers.settings.loading import ray_address


class Consumers:
    """The consumer replicas of an application, and its guard's, while its cluster is joined.

    Attributes:
        where: the cluster, for a user to read.
    """

    def __init__(self, where: str, timeout_s: float) -> None:
        self.where = where
        self._timeout_s = timeout_s

    def ask(self, method: str, *arguments: object) -> list[Any]:
        """What each consumer said to a method, or the exception in its place; empty where no replica runs."""
        return self._ask(STREAM, method, *arguments)

    def ask_guards(self, method: str, *arguments: object) -> list[Any]:
        """The same of each guard replica."""
        return self._ask(GUARD, method, *arguments)

    def _ask(self, deployment: str, method: str, *arguments: object) -> list[Any]:
        handle: Any = serve.get_deployment_handle(deployment, APP_NAME)
        try:
            answers: list[Any] = handle.broadcast(method, *arguments).results(
                timeout_s=self._timeout_s, return_exceptions=True
            )
        except (DeploymentUnavailableError, TimeoutError):  # no replica runs
            return []
        return answers


def ask_consumers(method: str, *arguments: object, timeout_s: float) -> tuple[list[Any], dict[str, int]]:
    """Call a method of every consumer replica that runs.

    Returns:
        What each said, or the exception in its place; and how many replicas Serve knows, by state.

    Raises:
        ModerationError: there is no Ray, or the application is not on it; says where it looked.
    """
    with joined_application(timeout_s) as consumers:
        deployments = serve.status().applications[APP_NAME].deployments
        states = {str(state): count for state, count in deployments[STREAM].replica_states.items()}
        return consumers.ask(method, *arguments), states


@contextmanager
def joined_application(timeout_s: float) -> Iterator[Consumers]:
    """Join the cluster that the application runs on, and leave it again.

    Raises:
        ModerationError: there is no Ray, or the application is not on it; says where it looked.
    """
    with _joined_ray(timeout_s) as where:
        application = serve.status().applications.get(APP_NAME)
        if application is None:
            raise ModerationError(f"{where}: the application {APP_NAME} does not run there")
        if STREAM not in application.deployments:  # `weir serve`, or guard.enabled=false
            raise ModerationError(f"{where}: the application {APP_NAME} has no {STREAM}: it consumes no events")
        yield Consumers(where, timeout_s)


@contextmanager
def _joined_ray(timeout_s: float) -> Iterator[str]:
    """Join the cluster of RAY_ADDRESS, or the one that runs on this machine, and leave it again."""
    logging.getLogger("ray.serve").setLevel(logging.CRITICAL)
    address = ray_address() or ON_THIS_MACHINE
    start_ray(address, logs=False, level=logging.CRITICAL, reach_s=timeout_s)
    try:
        yield shown_address(address)
    finally:
        ray.shutdown()
