"""The checks of `weir check` that need the engine's libraries: device, and whether the model loads and answers.

Does not judge how well the model answers.
"""

from collections.abc import Iterator
from functools import partial

from schemas.errors import ConfigurationError
from workers.settings.loading import Settings
from workers.settings.sections import GuardSettings
from workers.tools.inspect.check import CheckResult, check

_KNOWN_GOOD = ({"role": "user", "content": "hello"},)


def model_checks(settings: Settings, timeout_s: float, model_timeout_s: float, *, skip: bool) -> Iterator[CheckResult]:
    """Device, model and the candidate's model. All have the model's time limit: importing torch alone takes long."""
    models = {"model": settings.guard}
    if settings.shadow.has_model:
        models["shadow model"] = settings.candidate().guard
    if skip:
        for name in ("device", *models):
            yield CheckResult(name, "skip", "--skip-model")
        return
    yield check("device", lambda: _device(settings.guard), max(timeout_s, model_timeout_s))
    for name, guard in models.items():
        yield check(name, partial(_model, guard), model_timeout_s)


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

    engine = load_engine(settings)
    completion = engine.judge([_KNOWN_GOOD])[0]
    who = provenance_of(engine)
    if completion.error is not None:
        raise ConfigurationError(f"model {settings.model}: answers {completion.error} to a plain greeting")
    return f"{who.model} {who.revision}, {who.engine}, {who.dtype} on {engine.identity.device}"
