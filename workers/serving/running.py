"""Starts the Serve application and stops it without losing what is in flight.

Ray installs a SIGTERM handler that exits at once, so ours goes in after `ray.init`. `serve.shutdown()` stops callers
before callees: consumers drain while the guard still answers.
"""

import logging
import signal
import threading
import time
from contextlib import ExitStack
from types import FrameType, TracebackType
from typing import Any, Self

import ray
from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.schema import ApplicationStatus

from schemas.errors import ModerationError
from workers.ask.server import listening
from workers.serving.app import APP_NAME, STREAM, application_of, ask_application_of
from workers.serving.ray_session import quiet_stop, start_ray
from workers.serving.serve_config import serve_config
from workers.settings.loading import (
    Settings,
    otel_variables,
    ray_address,
    secrets_handed_down,
    without_credentials,
)
from workers.telemetry.log import log_event

log = logging.getLogger(__name__)
POLL_S = 1.0


class RunningApplication:
    """The application on local Ray, or on the cluster of RAY_ADDRESS. Use as a context manager.

    Args:
        settings: all settings.
        quiet: keep the logs of Ray and of the replicas out of this process.
        asks_only: answer over HTTP and do nothing else: no Kafka, no candidate, and replicas as they are set.

    Raises:
        ModerationError: the application did not start; says what Serve says.
    """

    def __init__(self, settings: Settings, *, quiet: bool = False, asks_only: bool = False) -> None:
        self._settings = settings
        self._asks_only = asks_only
        self._quiet = quiet
        self.stopping = threading.Event()
        self._handed_down = ExitStack()

    def __enter__(self) -> Self:
        # Before Ray, so that what is wrong is refused at once.
        application = ask_application_of(self._settings) if self._asks_only else application_of(self._settings)
        level = logging.CRITICAL if self._quiet else logging.WARNING
        logging.getLogger("ray.serve").setLevel(level)
        address = ray_address()
        if address is None and (self._asks_only or self._settings.ask.enabled):
            listening(self._settings.ask.host, self._settings.ask.port).close()
        self._handed_down.enter_context(secrets_handed_down(self._settings))
        start_ray(address, cpus=self._cpus(), variables=otel_variables(), logs=not self._quiet, level=level)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        try:
            serve.start(proxy_location="Disabled")
            if self._settings.autoscaling.enabled and not self._asks_only:
                self._deploy({} if address is None else without_credentials(otel_variables()))
            else:
                serve.run(application, name=APP_NAME, route_prefix=None)
        except BaseException as error:
            self.close()
            if isinstance(error, RuntimeError):
                raise ModerationError(f"the Serve application did not start: {error}") from error
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _cpus(self) -> float:
        """Logical CPUs of all replicas that there may be."""
        guard, stream = self._settings.guard, self._settings.serve
        of_a_guard = guard.cpus_per_replica if guard.enabled else 0.0
        turns = self._settings.stream_guard
        needed = self._settings.ask.judges_turns if self._asks_only else self._settings.judges_turns
        for_turns = turns.replicas * turns.cpus_per_replica if needed else 0.0
        if self._asks_only:
            return guard.replicas * of_a_guard + for_turns
        replicas, consumers = guard.replicas, stream.consumers if guard.enabled else 0
        if self._settings.autoscaling.enabled:
            replicas, consumers = self._settings.autoscaling.max_replicas, self._settings.autoscaling.max_consumers
        if self._settings.shadow.has_model:
            replicas += self._settings.shadow.replicas
        cpus = replicas * of_a_guard + consumers * stream.cpus_per_consumer + for_turns
        if self._settings.deltas.enabled:
            deltas = self._settings.deltas
            cpus += deltas.consumers * deltas.cpus_per_consumer
        return cpus

    def _deploy(self, variables: dict[str, str]) -> None:
        """Deploy as `serve deploy` does, which alone takes an application's autoscaling policy."""
        _get_global_client().deploy_apps(serve_config(self._settings, variables))
        while (seen := serve.status().applications.get(APP_NAME)) is None or seen.status != ApplicationStatus.RUNNING:
            if seen is not None and seen.status == ApplicationStatus.DEPLOY_FAILED:
                raise RuntimeError(" ".join(seen.message.split()))
            if self.stopping.wait(POLL_S / 10):
                return

    def close(self) -> None:
        """Stop: consumers drain and leave the group first, guard replicas after."""
        started = time.monotonic()
        with quiet_stop():
            serve.shutdown()
            ray.shutdown()
        self._handed_down.close()
        log.info(log_event("application_stopped", seconds=round(time.monotonic() - started, 1)))

    def wait(self) -> None:
        """Return when a signal asks to stop."""
        while not self.stopping.wait(POLL_S):
            pass

    def completed(self) -> int:
        """Records completed by one consumer replica since its start."""
        handle: Any = serve.get_deployment_handle(STREAM, APP_NAME)
        return int(handle.completed.remote().result(timeout_s=10))

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        log.info(log_event("signal", number=number))
        self.stopping.set()
