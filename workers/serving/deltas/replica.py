"""One replica of `StreamGuard`: a stream guard and its sessions, behind a Serve handle.

A plain class, of which `workers.serving.app` makes the deployment. What it forgets is told to whoever asks, which gives
the turn's text again.
"""

import asyncio
import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stderr
from time import perf_counter

from pipelines.turns.port import PushReply, TurnPush
from schemas.errors import GuardCallFailedError
from workers.serving.deltas.measures import observe_sessions, pushes_measured
from workers.serving.deltas.sessions import TurnSessions
from workers.serving.engine_choice import load_stream_guard
from workers.settings.loading import Settings, otel_variables
from workers.telemetry.export import start_metrics, start_tracing
from workers.telemetry.log import configure_logging, log_event

log = logging.getLogger(__name__)
MAX_FAILURES = 32  # rounds in a row that raise: more than the search for one bad push makes


class StreamGuardReplica:
    """Judges turns while they are written; a `pipelines.turns.port.TurnJudge`.

    Args:
        settings: all settings.
    """

    _closing = ExitStack()  # of one that was not made: nothing

    def __init__(self, settings: Settings) -> None:
        with redirect_stderr(sys.__stderr__):  # Serve's stand-in for it writes to a file that nobody collects
            configure_logging(settings.telemetry.log_level)
        otel = otel_variables()
        self._tracing = start_tracing(settings.telemetry, "weir-stream-guard", otel)
        self._metrics = start_metrics("weir-stream-guard", otel)
        self._closing = ExitStack()
        self._closing.callback(self._metrics.flush)
        self._closing.callback(self._tracing.flush)
        chosen = settings.stream_guard
        started = perf_counter()
        guard = load_stream_guard(
            chosen, chosen.debounce, max_sessions=chosen.max_sessions + 1, max_pages=chosen.max_pages
        )
        self._sessions = TurnSessions(guard, chosen.max_sessions, self._tracing, pushes_measured())
        observe_sessions(self._sessions)
        self._closing.callback(self._sessions.close)
        self._timeout_s = chosen.batch_timeout_s
        seconds = round(perf_counter() - started, 2)
        log.info(log_event("model_loaded", seconds=seconds, **self._sessions.provenance.model_dump()))

    async def push(self, pushes: Sequence[TurnPush]) -> PushReply:
        """See `pipelines.turns.port.TurnJudge`.

        Raises:
            GuardCallFailedError: names the kind of an error of our own, whose text may quote the input.
        """
        try:
            return await self._sessions.push(pushes)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is
            told = GuardCallFailedError(type(error).__name__)
        # Not while that is handled: Ray and Serve write the whole chain of an error into their logs.
        raise told

    async def check_health(self) -> None:
        """Serve's health check.

        Raises:
            RuntimeError: round after round has raised, or one does not end: the device or the engine is broken.
        """
        since = self._sessions.running_since
        if since is not None and perf_counter() - since > self._timeout_s:
            raise RuntimeError(f"a round has been running for {perf_counter() - since:.0f} s")
        if self._sessions.failures >= MAX_FAILURES:
            raise RuntimeError(f"the last {self._sessions.failures} rounds raised")

    def __del__(self) -> None:
        """Serve calls it on a clean stop, and Python once more."""
        self._closing.close()
