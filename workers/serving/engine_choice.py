"""Loads the engine, or the stream guard, that the settings name.

The engines are imported only here and only when called: torch takes seconds and hundreds of megabytes, which the driver
that builds the application must not pay.
"""

import logging
from typing import TYPE_CHECKING

from pipelines.guard_family import QWEN3GUARD_GEN
from schemas.errors import ConfigurationError
from schemas.verdict import Provenance
from workers.settings.sections import GuardSettings
from workers.settings.stream_guard import StreamGuardSettings
from workers.telemetry.log import log_event

if TYPE_CHECKING:
    from workers.serving.engine.completion import Engine
    from workers.serving.engine.stream_guard import StreamGuard
    from workers.serving.engine.streaming.verdicts import Debounce

log = logging.getLogger(__name__)


def load_engine(settings: GuardSettings) -> "Engine":
    """Load model and engine.

    Raises:
        ConfigurationError: names the setting and its value.
    """
    try:
        engine = _load(settings)
    except ValueError as error:  # the engine knows no errors of ours
        raise ConfigurationError(str(error)) from None
    if unknown := [text for text in engine.template_text if not QWEN3GUARD_GEN.template_text.search(text)]:
        log.warning(log_event("template_text_unknown", model=settings.model, count=len(unknown)))  # P14 lacks these
    return engine


def load_stream_guard(
    settings: GuardSettings | StreamGuardSettings,
    debounce: "Debounce" = "paper",
    *,
    max_sessions: int = 10_000,
    max_pages: int | None = None,
) -> "StreamGuard":
    """Load a Qwen3Guard-Stream model by settings; the other arguments are `StreamGuard.load`'s.

    Raises:
        ConfigurationError: names the setting and its value.
    """
    from workers.serving.engine.stream_guard import StreamGuard  # see above

    try:
        return StreamGuard.load(
            settings.model,
            revision=settings.revision,
            device=settings.device,
            dtype=settings.dtype,
            debounce=debounce,
            max_sessions=max_sessions,
            max_pages=max_pages,
        )
    except ValueError as error:
        text = str(error)
        if isinstance(settings, StreamGuardSettings):  # the engine calls it by its other name
            text = text.replace("guard.model", "stream_guard.model")
        raise ConfigurationError(text) from None


def _load(settings: GuardSettings) -> "Engine":
    if settings.engine == "remote":
        from workers.serving.remote.engine import RemoteEngine

        return RemoteEngine.load(settings)
    from workers.serving.engine.one_pass import OnePassEngine  # see above
    from workers.serving.engine.reference import ReferenceEngine

    if settings.engine == "reference":
        return ReferenceEngine.load(
            settings.model,
            revision=settings.revision,
            device=settings.device,
            dtype=settings.dtype,
            max_new_tokens=settings.max_new_tokens,
        )
    return OnePassEngine.load(
        settings.model,
        revision=settings.revision,
        device=settings.device,
        dtype=settings.dtype,
        max_new_tokens=settings.max_new_tokens,
        score_temperature=settings.score_temperature,
        batch_invariant=settings.batch_invariant,
        compiled=settings.compile,
    )


def provenance_of(engine: "Engine") -> Provenance:
    """What a verdict says of the engine that judged it."""
    identity = engine.identity
    return Provenance(
        model=identity.model,
        revision=identity.revision,
        prompt_sha256=identity.prompt_sha256,
        engine=identity.engine,
        dtype=identity.dtype,
        parser=QWEN3GUARD_GEN.parser_version,
    )
