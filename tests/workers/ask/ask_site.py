"""An Ask lane without a server: its application over a guard that a test writes down."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from pipelines.guard import Guard
from pipelines.turns.port import TurnJudge
from tests.guards.scripted_guard import ScriptedGuard
from tests.workers.ask.asgi import Got, post
from tests.workers.telemetry.recorded_tracing import RecordedTracing
from workers.ask.admission import Admission, WatchedGuard
from workers.ask.lane import door_of, web_of
from workers.ask.web import AskWeb
from workers.settings.loading import load_settings
from workers.telemetry.export import Tracing

SAFE = "Safety: Safe\nCategories: None"
VIOLENT = "Safety: Unsafe\nCategories: Violent"
RUDE = "Safety: Controversial\nCategories: Unethical Acts, PII"
ANSWERED = "\nRefusal: No"
SECRET = "kookaburra"
OFF = RecordedTracing(ALWAYS_OFF, enabled=False)


def said(text: str) -> str:
    """What the guard says of a text, as the text asks for."""
    if "mumble" in text:
        return f"I say {SECRET}"
    return VIOLENT if "threat" in text else RUDE if "rude" in text else SAFE


class AskSite:
    """One application.

    Args:
        guard: answers; one that says what texts ask for, if not given.
        keys_file: who may ask.
        tracing: of the application.
        turns: judges answers while they are written; that is off without it.
        settings: sections beside the ask section.
    """

    def __init__(
        self,
        guard: Guard | None = None,
        keys_file: Path | None = None,
        tracing: Tracing = OFF,
        turns: TurnJudge | None = None,
        **settings: Any,
    ) -> None:
        ask = {"keys_file": keys_file, **settings.pop("ask", {})}
        self.settings = load_settings(ask=ask, **settings)
        self.guard = guard or ScriptedGuard(said)
        self.watched = WatchedGuard(self.guard)
        self.ready = True
        limits = self.settings.limits
        self.admission = Admission(self.watched, limits.in_flight_tokens, limits.in_flight_records)
        self.door = None if turns is None else door_of(self.settings, turns)
        self.web: AskWeb = web_of(self.settings, self.watched, self.admission, tracing, lambda: self.ready, self.door)

    def post(self, path: str, body: object = None, headers: dict[str, str] | None = None, **options: Any) -> Got:
        """One request, in a loop of its own."""
        return asyncio.run(self.request(path, body, headers, **options))

    def request(
        self, path: str, body: object = None, headers: dict[str, str] | None = None, **options: Any
    ) -> Coroutine[Any, Any, Got]:
        """The same within a loop."""
        return post(self.web.app, path, body, headers, **options)
