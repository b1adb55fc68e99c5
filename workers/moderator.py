"""Judges texts and conversations in this process: Weir from Python, with neither Kafka nor Ray.

    from workers.moderator import Moderator

    moderator = Moderator.load("demo")
    for outcome in moderator.judge(["good morning", [{"role": "user", "content": "good evening"}]]):
        print(outcome)

Reading, length policy, parser and tenants' policies are those of the stream worker, and so are the settings.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from itertools import islice, repeat
from numbers import Integral
from pathlib import Path
from typing import Any, Self
from uuid import UUID, uuid4

from pipelines.lanes.batch import judge_batch
from pipelines.moderation import Outcome
from schemas.dead_letter import DeadLetter
from schemas.record import SourceRecord
from schemas.verdict import Verdict
from workers.guard.setup import judge_of, moderation_of
from workers.serving.local_guard import load_local_guard
from workers.settings.loading import Settings, load_settings

SOURCE_TOPIC = "python"
_NO_JSON = b"{"  # of what has no form in JSON: circles, endless nesting
Turn = Mapping[str, Any]
Item = str | Sequence[Turn] | Mapping[str, Any]
"""What can be judged: one user message; turns as `{"role", "content"}`, oldest first, of which the last is judged; or
an event with the fields of `schemas.event.ChatEvent`.
"""


class Moderator:
    """A loaded model and the rules around it. Use it from one thread at a time.

    Args:
        settings: all settings; `load` reads them.

    Raises:
        ConfigurationError: the model or the policy cannot be loaded; names the setting.
    """

    def __init__(self, settings: Settings) -> None:
        self._moderation = moderation_of(settings)
        self._guard = load_local_guard(settings.guard)
        self._settings = settings
        self._judged = 0

    @classmethod
    def load(cls, model: str | None = None, *, config: Path | None = None) -> Self:
        """Read the settings and load the model, which takes seconds.

        Args:
            model: hub name, folder, or `demo` (not a safety classifier); `guard.model` if not given.
            config: settings file, in place of WEIR_CONFIG or ./weir.yaml; the environment wins over it.

        Raises:
            ConfigurationError: a setting is wrong, or the model cannot be loaded; names the setting.
        """
        return cls(load_settings(config).with_model(model))

    def judge(self, items: Iterable[Item], *, tenant: str | None = None) -> list[Verdict | DeadLetter]:
        """One outcome for each item, in order: a verdict, or a dead letter that says why there is none.

        Nothing that an item says raises. An item that holds nothing to judge is a dead letter with a reason of
        `schemas.reasons.NOTHING_TO_JUDGE`; so is one with anything but a text where a text is needed. Texts and
        conversations get a random `event_id`.

        Args:
            items: texts, conversations or events; a single one goes into a list.
            tenant: whose policy applies to texts and conversations; an event names its own.

        Raises:
            TypeError: an item is none of these, or `items` is an item itself.
            ModerationError: the engine is broken, and raises on a known-good text too.
        """
        if isinstance(items, str | bytes | bytearray | Mapping):
            raise TypeError(f"a list of items is needed, not a single {type(items).__name__}")
        # A loop of its own: a notebook has one already, in which nothing may be waited for.
        with ThreadPoolExecutor(1, "weir-moderator") as thread:
            return thread.submit(asyncio.run, self._judge(items, tenant)).result()

    async def _judge(self, items: Iterable[Item], tenant: str | None) -> list[Verdict | DeadLetter]:
        judge = judge_of(self._settings, self._guard)
        outcomes = []
        records = map(self._record, items, repeat(tenant))
        while batch := list(islice(records, self._settings.guard.batch_size)):
            rulings = await judge_batch(batch, self._moderation, judge)
            outcomes += [_opened(ruling.outcome) for ruling in rulings]
        return outcomes

    def _record(self, item: Item, tenant: str | None) -> SourceRecord:
        self._judged += 1
        event = _event_of(item, tenant)
        try:
            value = json.dumps(event, default=_json_value, skipkeys=True).encode()
        except (ValueError, RecursionError):
            value = _NO_JSON
        return SourceRecord(SOURCE_TOPIC, 0, self._judged, 0, None, value, ())


def _event_of(item: Item, tenant: str | None) -> Mapping[str, Any]:
    if isinstance(item, Mapping):
        return item
    event: dict[str, Any] = {"event_id": uuid4().hex}
    if tenant is not None:
        event["tenant"] = tenant
    if isinstance(item, str):
        return {**event, "text": item}
    if not isinstance(item, Sequence) or isinstance(item, bytes | bytearray):
        raise TypeError(f"a text, a list of turns or an event is needed, not {type(item).__name__}")
    return {**event, "messages": list(item)}


def _json_value(value: object) -> Any:
    """Other mappings, times and ids as events have them. Of anything else nothing: its `str` is nobody's message."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Integral):  # numpy's
        return int(value)
    return str(value) if isinstance(value, date | Decimal | UUID) else {}


def _opened(outcome: Outcome) -> Verdict | DeadLetter:
    return outcome if isinstance(outcome, DeadLetter) else Verdict.model_validate_json(outcome.to_bytes())
