"""Looks at everything that `weir run` needs, and changes nothing.

The settings are checked here; Kafka in `kafka_checks`, the model in `model_checks`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from pipelines.policy import load_policy
from schemas.errors import ConfigurationError, ModerationError
from workers.ask.keys import read_keys
from workers.extras import EXTRA_OF, extras_named, need
from workers.settings.loading import Settings, load_settings, otel_variables
from workers.telemetry.export import try_export
from workers.telemetry.variables import endpoint, shown_endpoint, unsupported
from workers.tools.inspect.check import CheckResult, check
from workers.tools.inspect.kafka_checks import kafka_checks
from workers.tools.inspect.model_checks import model_checks


def preflight(
    config: Path | None, timeout_s: float, model_timeout_s: float, *, skip_model: bool
) -> Iterator[CheckResult]:
    """Look at one thing after the other that `weir run` needs; without settings, at nothing else.

    Args:
        config: the settings file, in place of the one that WEIR_CONFIG names.
        timeout_s: longest time of each check.
        model_timeout_s: longest time for loading a model.
        skip_model: load none.
    """
    loaded: list[Settings] = []
    finding = check("settings", lambda: _settings(config, loaded), timeout_s)
    yield finding
    if not loaded:
        for name in (
            "policy",
            "autoscaling",
            "shadow",
            "ask",
            "deltas",
            "broker",
            "session",
            "topics",
            "rights",
            "model",
            "telemetry",
        ):
            yield CheckResult(name, "skip", "no settings")
        return
    settings = loaded[0]
    policy = check("policy", lambda: _policy(settings), timeout_s)
    yield policy
    yield check("autoscaling", lambda: _autoscaling(settings), timeout_s)
    if policy.status != "ok" and settings.shadow.enabled and settings.candidate().policy == settings.policy:
        yield CheckResult("shadow", "skip", "see policy")
    else:
        yield check("shadow", lambda: _shadow(settings), timeout_s)
    extras = CheckResult("extras", "ok", "") if skip_model else check("extras", _extras, timeout_s)
    if extras.status != "ok":  # one cause of several faults
        yield extras
    if extras.status != "ok" and settings.ask.enabled:
        yield CheckResult("ask", "skip", "see extras")
    else:
        yield check("ask", lambda: _ask(settings), timeout_s)
    yield check("deltas", lambda: _deltas(settings), timeout_s)
    yield from kafka_checks(settings, timeout_s)
    why = "--skip-model" if skip_model else None if extras.status == "ok" else "see extras"
    yield from model_checks(settings, timeout_s, model_timeout_s, skipped=why)
    yield check("telemetry", lambda: _telemetry(otel_variables(), timeout_s / 3), timeout_s)


def _settings(config: Path | None, loaded: list[Settings]) -> str:
    settings = load_settings(config)
    loaded.append(settings)
    topics = settings.topics
    outputs = (topics.verdicts, topics.dead_letters) if settings.guard.enabled else (topics.stream, topics.dead_letters)
    if not settings.inputs:
        return "no topics: answers over HTTP only"
    return f"{', '.join(settings.inputs)} -> {' and '.join(outputs)}, group {settings.kafka.group_id}"


def _extras() -> str:
    need(*(module for module, extra in EXTRA_OF.items() if extra == "serve"))
    return "serve"


def _policy(settings: Settings) -> str:
    policy = load_policy(settings.policy.file)
    routed = f", routes to {', '.join(policy.topics)}" if policy.topics else ""
    return f"{policy.name} version {policy.version}{routed}"


def _autoscaling(settings: Settings) -> str:
    scaling, guard, serve = settings.autoscaling, settings.guard, settings.serve
    if not guard.enabled:
        return "off: guard.enabled=false"
    if not scaling.enabled:
        return f"off: {guard.replicas} guard replicas, {serve.consumers} consumers"
    return (
        f"{scaling.min_replicas} to {scaling.max_replicas} guard replicas, {serve.consumers} to {scaling.max_consumers}"
        f" consumers, for {scaling.target_seconds_behind:g} s behind at most"
    )


def _shadow(settings: Settings) -> str:
    shadow = settings.shadow
    if not shadow.enabled:
        return "off"
    candidate = settings.candidate()
    policy = load_policy(candidate.policy.file)
    named = f"policy {policy.name} version {policy.version}"
    if shadow.has_model:
        named = (
            f"{shadow.replicas} replicas of {candidate.guard.model} {candidate.guard.revision or ''}".rstrip()
            + f", {named}"
        )
    return f"{shadow.share:.4g} of the events to {settings.topics.shadow}: {named}"


def _ask(settings: Settings) -> str:
    ask = settings.ask
    if not ask.enabled:
        return "off"
    keys = "this machine only" if ask.keys_file is None else f"{len(read_keys(ask.keys_file).keys)} keys"
    with extras_named():
        from workers.ask.server import listening  # an extra's: without it, all else can still be looked at
    listening(ask.host, ask.port).close()
    return f"{ask.host}:{ask.port}, {keys}"


def _deltas(settings: Settings) -> str:
    deltas, guard, topics = settings.deltas, settings.stream_guard, settings.topics
    if not deltas.enabled:
        return "off"
    named = f"{guard.model} {guard.revision or ''}".rstrip()
    return f"{topics.deltas} -> {topics.stream}: {deltas.consumers} consumers, {guard.replicas} replicas of {named}"


def _telemetry(otel: Mapping[str, str], each_s: float) -> str:
    if faults := unsupported(otel):
        raise ConfigurationError("; ".join(faults))
    if not (tried := try_export(otel, each_s)):
        return "off: no OTEL_EXPORTER_OTLP_ENDPOINT, or no exporter"
    where = {signal: f"{signal.lower()} to {shown_endpoint(endpoint(signal, otel) or '')}" for signal in tried}
    if refused := [where[signal] for signal, taken in tried.items() if not taken]:
        raise ModerationError(f"not taken: {', '.join(refused)}")
    return f"taken: {', '.join(where.values())}"
