"""The checks of `weir check` that need the engine's libraries: device, and whether the model loads and answers.

Does not judge how well the model answers.
"""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from pipelines.guard_family import QWEN3GUARD_GEN
from schemas.errors import ConfigurationError, UnparsableOutputError
from schemas.event import Task
from workers.extras import extras_named
from workers.settings.loading import Settings
from workers.settings.sections import GuardSettings
from workers.settings.stream_guard import StreamGuardSettings
from workers.tools.inspect.check import CheckResult, check

if TYPE_CHECKING:
    from workers.serving.engine.completion import Engine

_GREETING = {"role": "user", "content": "hello"}
_KNOWN_GOOD: dict[Task, tuple[dict[str, str], ...]] = {
    Task.PROMPT: (_GREETING,),
    Task.RESPONSE: (_GREETING, {"role": "assistant", "content": "Hello! How can I help you?"}),
}


def model_checks(
    settings: Settings, timeout_s: float, model_timeout_s: float, *, skipped: str | None
) -> Iterator[CheckResult]:
    """Device, model and the candidate's model; `skipped` says why none is looked at.

    All have the model's time limit: importing torch alone takes long.
    """
    models = {"model": settings.guard} if settings.guard.enabled else {}
    if settings.shadow.has_model:
        models["shadow model"] = settings.candidate().guard
    streams = ("stream model",) if settings.judges_turns else ()
    if skipped is not None:
        for name in ("device", *models, *streams):
            yield CheckResult(name, "skip", skipped)
        return
    if not settings.guard.enabled:
        yield CheckResult("model", "skip", "guard.enabled=false: whole messages are not judged")
    if settings.guard.enabled and settings.guard.engine == "remote":
        yield CheckResult("device", "skip", "guard.engine=remote: servers run the model")
        # Shorter than the check, so that it is the engine that says what is wrong.
        servers = settings.guard.remote.model_copy(update={"start_timeout_s": model_timeout_s * 0.8})
        models["model"] = settings.guard.model_copy(update={"remote": servers})
    else:
        device = check("device", lambda: _device(settings), max(timeout_s, model_timeout_s))
        yield device
        if device.status != "ok":
            for name in (*models, *streams):
                yield CheckResult(name, "skip", "no device to load it on")
            return
    for name, guard in models.items():
        yield check(name, partial(_model, guard), model_timeout_s)
    for name in streams:
        yield check(name, partial(_stream_model, settings.stream_guard), model_timeout_s)


def _device(settings: Settings) -> str:
    section = "guard" if settings.guard.enabled else "stream_guard"
    chosen = settings.guard if settings.guard.enabled else settings.stream_guard
    with extras_named():
        from workers.serving.engine.loading import resolve_device  # torch takes seconds

    try:
        device = resolve_device(chosen.device)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    # Ray gives a replica no GPU that it did not ask for, whatever this process sees.
    if device.type == "cpu" and chosen.gpus_per_replica:
        raise ConfigurationError(f"{section}.gpus_per_replica={chosen.gpus_per_replica}, but this machine shows no GPU")
    if device.type == "cuda" and not chosen.gpus_per_replica:
        return f"{device}; {section}.gpus_per_replica=0, so replicas will run on the CPU"
    return str(device)


def _model(settings: GuardSettings) -> str:
    from workers.serving.engine_choice import load_engine

    with extras_named():
        engine = load_engine(settings)
    try:
        return f"{_judging(settings, engine)}{_servers(engine)}"
    finally:
        engine.close()


def _stream_model(settings: StreamGuardSettings) -> str:
    from workers.serving.engine_choice import load_stream_guard

    with extras_named():
        guard = load_stream_guard(settings, settings.debounce, max_pages=settings.max_pages)
    session = guard.open([_GREETING])
    [verdicts] = guard.push([(session, "Hello! How can I help you?", True)])
    if verdicts.error is not None:
        raise ConfigurationError(f"stream_guard.model={settings.model}: answers {verdicts.error} to a plain greeting")
    who = guard.identity
    pages = f"{guard.max_pages} pages of {guard.page_bytes} bytes"
    return f"{who.model} {who.revision}, {who.dtype} on {who.device}, {pages}"


def _judging(settings: GuardSettings, engine: "Engine") -> str:
    from workers.serving.engine_choice import provenance_of

    who = provenance_of(engine)
    # One at a time, as two prompts of one batch need memory for two.
    for task, conversation in _KNOWN_GOOD.items():
        completion = engine.judge([conversation])[0]
        if completion.error is not None:
            raise ConfigurationError(f"model {settings.model}: answers {completion.error} to a plain greeting ({task})")
        try:
            QWEN3GUARD_GEN.parse(completion.text, task)
        except UnparsableOutputError as error:
            detail = f"answers a plain greeting ({task}) with what is no verdict: {error.detail}"
            raise ConfigurationError(f"model {settings.model}: {detail}") from None
    return f"{who.model} {who.revision}, {who.engine}, {who.dtype} on {engine.identity.device}"


def _servers(engine: "Engine") -> str:
    from workers.serving.remote.engine import RemoteEngine

    if not isinstance(engine, RemoteEngine):
        return ""
    engine.wait_for_all()
    unready = [
        f"{endpoint.url}: {endpoint.state}, {endpoint.why}" for endpoint in engine.endpoints if not endpoint.is_up
    ]
    if unready:
        raise ConfigurationError(f"guard.remote.urls: {'; '.join(unready)}")
    return f", {len(engine.endpoints)} servers, guard.remote.behaviour_sha256={engine.behaviour_sha256}"
