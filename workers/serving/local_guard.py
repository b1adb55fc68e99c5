"""The guard port over an engine in this process: no Ray, one call at a time.

Does not batch across calls; whoever calls sends as much as it has.
"""

import asyncio
from collections.abc import Sequence
from time import perf_counter

from pipelines.guard import GuardReply, GuardRequest
from pipelines.isolation import PROBE
from schemas.errors import GuardCallFailedError, GuardCrashError, GuardUnavailableError, ModerationError
from workers.extras import extras_named
from workers.serving import engine_choice
from workers.serving.answers import answer_of
from workers.serving.engine.completion import Engine
from workers.settings.sections import GuardSettings


class LocalGuard:
    """Runs an engine in a thread.

    Args:
        engine: loaded, and used by nobody else.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._provenance = engine_choice.provenance_of(engine)

    async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply:
        """See `pipelines.guard.Guard`.

        Raises:
            GuardUnavailableError: the engine's server does not answer.
            GuardCrashError: its server died while it ran this.
            ModerationError: even the known-good probe raised. In a cluster one waits for another replica; here there
                is none, so waiting would never end.
        """
        started = perf_counter()
        try:
            judged = await asyncio.to_thread(self._engine.judge, [request.conversation for request in requests])
        except (GuardUnavailableError, GuardCrashError):
            raise
        except Exception as error:  # noqa: BLE001 - what an engine raises is anything
            kind = type(error).__name__  # its text may quote input
            if list(requests) == [PROBE]:
                raise ModerationError(f"the engine is broken: {kind} on a known-good text") from None
            raise GuardCallFailedError(kind) from None
        guard_ms = (perf_counter() - started) * 1000
        return GuardReply([answer_of(item, {}, guard_ms=guard_ms) for item in judged], self._provenance)


def load_local_guard(settings: GuardSettings) -> LocalGuard:
    """The guard of this process, with its model loaded: of `weir classify`, `eval`, `audit`, and of Python's own users.

    Raises:
        ConfigurationError: names the setting and its value, or the extra that is missing.
    """
    with extras_named():
        return LocalGuard(engine_choice.load_engine(settings))
