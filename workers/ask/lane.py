"""The Ask lane of one process, put together from the settings: guard, core, routes, server.

Loads no model; the guard is given.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial

from pipelines.backoff import Backoff
from pipelines.guard import Guard
from pipelines.isolation import PROBE
from pipelines.judging import Judge
from schemas.errors import ModerationError
from workers.ask.admission import Admission, WatchedGuard
from workers.ask.asking import Asking
from workers.ask.codecs.all_routes import ROUTES
from workers.ask.demand import AskDemand
from workers.ask.keys import KeyRing
from workers.ask.measures import AskMeasures
from workers.ask.server import AskServer, listening
from workers.ask.web import AskWeb
from workers.guard.setup import moderation_of
from workers.settings.loading import Settings
from workers.telemetry.export import Tracing
from workers.telemetry.log import log_event

log = logging.getLogger(__name__)
CANARY_EVERY_S = 5.0
LATELY_S = 30.0
MOST_BACKOFF_S = 1.0  # somebody waits


class AskLane:
    """Answers over HTTP until it is stopped.

    Args:
        settings: all settings.
        guard: judges.
        tracing: of this process.

    Attributes:
        demand: what is asked and answered.

    Raises:
        ConfigurationError: policy or keys are wrong.
    """

    def __init__(self, settings: Settings, guard: Guard, tracing: Tracing) -> None:
        self._settings = settings
        self._guard = WatchedGuard(guard)
        limits = settings.limits
        admission = Admission(self._guard, limits.in_flight_tokens, limits.in_flight_records)
        self.demand = AskDemand(admission)
        self._web = web_of(settings, self._guard, admission, tracing, self.is_ready)
        self._server = AskServer(self._web.app, settings.delivery.drain_timeout_s)
        self._canaries: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigurationError: the address cannot be had.
        """
        ask = self._settings.ask
        await self._server.start(listening(ask.host, ask.port))
        self._canaries = asyncio.create_task(self._send_canaries())
        log.info(log_event("ask_answering", host=ask.host, port=ask.port))

    def is_ready(self) -> bool:
        """The guard has answered lately, and does so now."""
        last = self._guard.last_answer
        now = asyncio.get_running_loop().time()
        return last is not None and now - last < LATELY_S and not self._guard.is_down

    @property
    def has_failed(self) -> bool:
        """Nothing listens any more."""
        return self._server.has_failed

    async def stop(self) -> None:
        """Take on nothing new, answer what is under way, and end."""
        self._web.is_draining = True
        if self._canaries is not None:
            self._canaries.cancel()
        await self._server.stop()
        log.info(log_event("ask_stopped"))

    async def _send_canaries(self) -> None:
        """Ask for a known text now and then, where nobody else has asked."""
        while True:
            last = self._guard.last_answer
            if last is None or asyncio.get_running_loop().time() - last > CANARY_EVERY_S:
                with contextlib.suppress(ModerationError):
                    await self._guard.judge([PROBE])
            await asyncio.sleep(CANARY_EVERY_S if self._guard.last_answer else MOST_BACKOFF_S)


def web_of(
    settings: Settings, guard: WatchedGuard, admission: Admission, tracing: Tracing, is_ready: Callable[[], bool]
) -> AskWeb:
    """The HTTP application of given settings."""
    delivery = settings.delivery
    longest_s = min(delivery.backoff_max_s, MOST_BACKOFF_S)
    judge = Judge(
        guard,
        max_attempts=delivery.max_attempts,
        max_crashes=delivery.max_crashes,
        new_backoff=partial(Backoff, min(delivery.backoff_initial_s, longest_s), longest_s),
    )
    asking = Asking(
        moderation_of(settings),
        judge,
        admission,
        chunk_size=delivery.chunk_size,
        skips=settings.events.nothing_to_judge == "skip",
    )
    keys = KeyRing(settings.ask.keys_file)
    measures = AskMeasures(lambda: admission.tokens)
    return AskWeb(asking, ROUTES, keys, is_ready, tracing, measures, settings.ask.deadline_s, settings.guard.model)
