"""The checks of `weir check` that need the engine's libraries: device, and whether the model loads and answers.

Does not judge how well the model answers.
"""

from collections.abc import Iterator

from schemas.errors import ConfigurationError
from workers.preflight import Finding, check
from workers.sections import GuardSettings

_KNOWN_GOOD = ({"role": "user", "content": "hello"},)


def model_checks(settings: GuardSettings, timeout_s: float, model_timeout_s: float, *, skip: bool) -> Iterator[Finding]:
    """Device, then model; importing torch alone may take longer than other checks have, so the model's time counts."""
    if skip:
        yield Finding("device", "skip", "--skip-model")
        yield Finding("model", "skip", "--skip-model")
        return
    yield check("device", lambda: _device(settings), max(timeout_s, model_timeout_s))
    yield check("model", lambda: _model(settings), model_timeout_s)


def _device(settings: GuardSettings) -> str:
    from workers.serving.engine.loading import resolve_device  # torch takes seconds

    try:
        device = resolve_device(settings.device)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    # Ray gives a replica no GPU that it did not ask for, whatever this process sees.
    if device.type == "cpu" and settings.gpus_per_replica:
        raise ConfigurationError(f"guard.gpus_per_replica={settings.gpus_per_replica}, but this machine shows no GPU")
    if device.type == "cuda" and not settings.gpus_per_replica:
        return f"{device}; guard.gpus_per_replica=0, so replicas will run on the CPU"
    return str(device)


def _model(settings: GuardSettings) -> str:
    from workers.serving.engine_choice import load_engine, provenance_of

    try:
        engine = load_engine(settings)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    judgement = engine.judge([_KNOWN_GOOD])[0]
    who = provenance_of(engine)
    if judgement.error is not None:
        raise ConfigurationError(f"guard.model={settings.model}: answers {judgement.error} to a plain greeting")
    return f"{who.model} {who.revision}, {who.engine}, {who.dtype} on {engine.identity.device}"
