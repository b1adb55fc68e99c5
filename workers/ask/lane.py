"""The Ask lane of one process, put together from the settings: guard, core, routes, server.

Loads no model; the guard is given.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from pipelines.backoff import Backoff
from pipelines.guard import Guard
from pipelines.isolation import PROBE
from pipelines.judging import Judge
from pipelines.policy import load_policy
from pipelines.turns.asking import TurnAsker
from pipelines.turns.frames import TurnRules
from pipelines.turns.port import TurnJudge
from schemas.errors import ModerationError
from workers.ask.admission import Admission, Watch, WatchedGuard
from workers.ask.asking import Asking
from workers.ask.codecs.all_routes import ROUTES
from workers.ask.demand import AskDemand
from workers.ask.keys import KeyRing
from workers.ask.measures import AskMeasures
from workers.ask.server import AskServer, listening
from workers.ask.turns.door import TurnDoor, WatchedTurns
from workers.ask.turns.open_turns import OpenTurns
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
        guard: judges whole messages; None where that is off.
        tracing: of this process.
        turns: judges answers while they are written; None where that is off.

    Attributes:
        demand: what is asked and answered.
        door: takes turns while they are written; None where that is off.

    Raises:
        ConfigurationError: policy or keys are wrong.
    """

    def __init__(
        self, settings: Settings, guard: Guard | None, tracing: Tracing, turns: TurnJudge | None = None
    ) -> None:
        self._settings = settings
        self._guard = None if guard is None else WatchedGuard(guard)
        limits = settings.limits
        admission = Admission(self._guard or Watch(), limits.in_flight_tokens, limits.in_flight_records)
        self.demand = AskDemand(admission)
        self.door = None if turns is None else door_of(settings, turns)
        self._watches: list[Watch] = [] if self._guard is None else [self._guard]
        self._watches += [] if self.door is None else [self.door.watched]
        self._web = web_of(settings, self._guard, admission, tracing, self.is_ready, self.door)
        self._server = AskServer(
            self._web.app,
            settings.delivery.drain_timeout_s,
            settings.ask.deadline_s,
            sockets=self._web.sockets is not None,
        )
        self._canaries: asyncio.Future[list[None]] | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigurationError: the address cannot be had.
        """
        ask = self._settings.ask
        await self._server.start(listening(ask.host, ask.port))
        canaries = [_send_canaries(self.door.watched, self.door.ask_canary)] if self.door else []
        if (guard := self._guard) is not None:
            canaries.append(_send_canaries(guard, lambda: guard.judge([PROBE])))
        self._canaries = asyncio.gather(*canaries)
        log.info(log_event("ask_answering", host=ask.host, port=ask.port))

    def is_ready(self) -> bool:
        """Whatever judges has answered lately, and does so now."""
        now = asyncio.get_running_loop().time()
        return all(
            watch.last_answer is not None and now - watch.last_answer < LATELY_S and not watch.is_down
            for watch in self._watches
        )

    @property
    def open_sockets(self) -> int:
        """WebSocket connections now."""
        return 0 if self._web.sockets is None else len(self._web.sockets)

    @property
    def has_failed(self) -> bool:
        """Nothing listens any more."""
        return self._server.has_failed

    async def stop(self) -> None:
        """Take on nothing new, answer what is under way, and end."""
        self._web.is_draining = True
        if self._canaries is not None:
            self._canaries.cancel()
            await asyncio.gather(self._canaries, return_exceptions=True)
        if self.door is not None and self._web.sockets is not None:
            self.door.is_draining = True
            await self._web.sockets.drain(self._settings.delivery.drain_timeout_s)
        await self._server.stop()
        if self.door is not None:
            self.door.stop()
        log.info(log_event("ask_stopped"))


async def _send_canaries(watch: Watch, ask: Callable[[], Awaitable[object]]) -> None:
    """Ask about a known text now and then, where nobody else has asked."""
    while True:
        last = watch.last_answer
        if last is None or asyncio.get_running_loop().time() - last > CANARY_EVERY_S:
            with contextlib.suppress(ModerationError):
                await ask()
        await asyncio.sleep(CANARY_EVERY_S if watch.last_answer else MOST_BACKOFF_S)


def door_of(settings: Settings, turns: TurnJudge) -> TurnDoor:
    """The core behind `/v1/stream`, of given settings."""
    ask, chosen, delivery, limits = settings.ask, settings.stream_guard, settings.delivery, settings.limits
    watched = WatchedTurns(turns)
    longest_s = min(delivery.backoff_max_s, MOST_BACKOFF_S)
    asker = TurnAsker(watched, partial(Backoff, min(delivery.backoff_initial_s, longest_s), longest_s))
    policy = load_policy(settings.policy.file)
    rules = TurnRules(chosen.turn_characters, chosen.held_frames, delivery.max_attempts, policy)
    admission = Admission(watched, limits.in_flight_tokens, limits.in_flight_records)
    return TurnDoor(OpenTurns(asker, rules, ask.stream_turns, ask.stream_idle_s), admission, watched)


def web_of(
    settings: Settings,
    guard: WatchedGuard | None,
    admission: Admission,
    tracing: Tracing,
    is_ready: Callable[[], bool],
    door: TurnDoor | None = None,
) -> AskWeb:
    """The HTTP application of given settings; without a guard it has the routes of turns alone."""
    asking = None if guard is None else _asking_of(settings, guard, admission)
    routes, judges = ((), settings.stream_guard) if guard is None else (ROUTES, settings.guard)
    keys = KeyRing(settings.ask.keys_file)
    measures = AskMeasures(lambda: admission.tokens)
    return AskWeb(asking, routes, keys, is_ready, tracing, measures, settings.ask.deadline_s, judges.model, door)


def _asking_of(settings: Settings, guard: WatchedGuard, admission: Admission) -> Asking:
    delivery = settings.delivery
    longest_s = min(delivery.backoff_max_s, MOST_BACKOFF_S)
    judge = Judge(
        guard,
        max_attempts=delivery.max_attempts,
        max_crashes=delivery.max_crashes,
        new_backoff=partial(Backoff, min(delivery.backoff_initial_s, longest_s), longest_s),
    )
    return Asking(
        moderation_of(settings),
        judge,
        admission,
        chunk_size=delivery.chunk_size,
        skips=settings.events.nothing_to_judge == "skip",
    )
