"""`weir check`: would it run? One line for each thing that it needs.

The looking is done by `workers.tools.inspect.kafka_checks` and `workers.tools.inspect.model_checks`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from pipelines.policy import load_policy
from workers.cli.options import AsJson, Config
from workers.cli.terminal import console, plain, show_json
from workers.settings.loading import Settings, load_settings, otel_variables
from workers.tools.inspect.check import Finding
from workers.tools.inspect.check import check as run_check
from workers.tools.inspect.kafka_checks import kafka_checks
from workers.tools.inspect.model_checks import model_checks

_OTLP_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_COLOURS = {"ok": "green", "fail": "bold red", "skip": "yellow"}


def check(
    skip_model: Annotated[bool, typer.Option("--skip-model", help="Do not load the model.")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", min=2.0, help="Seconds for each check.")] = 10.0,
    model_timeout_s: Annotated[
        float, typer.Option("--model-timeout", min=2.0, help="Seconds to load the model; a download may need more.")
    ] = 300.0,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Check settings, policy, broker, topics, rights, model and telemetry. Exits with 1 if anything would fail."""
    findings = []
    out = console()
    for finding in _findings(config, timeout_s, model_timeout_s, skip_model=skip_model):
        findings.append(finding)
        if not as_json:
            colour = _COLOURS[finding.status]
            out.print(f"[{colour}]{finding.status:4}[/]  {escape(plain(f'{finding.name:34}  {finding.found}'))}")
    failed = any(finding.status == "fail" for finding in findings)
    if as_json:
        show_json({"ok": not failed, "checks": [asdict(finding) for finding in findings]})
    raise typer.Exit(int(failed))


def _findings(config: Path | None, timeout_s: float, model_timeout_s: float, *, skip_model: bool) -> Iterator[Finding]:
    loaded: list[Settings] = []
    finding = run_check("settings", lambda: _settings(config, loaded), timeout_s)
    yield finding
    if not loaded:
        for name in ("policy", "autoscaling", "shadow", "broker", "session", "topics", "rights", "model", "telemetry"):
            yield Finding(name, "skip", "no settings")
        return
    settings = loaded[0]
    yield run_check("policy", lambda: _policy(settings), timeout_s)
    yield run_check("autoscaling", lambda: _autoscaling(settings), timeout_s)
    yield run_check("shadow", lambda: _shadow(settings), timeout_s)
    yield from kafka_checks(settings, timeout_s)
    yield from model_checks(settings, timeout_s, model_timeout_s, skip=skip_model)
    yield run_check("telemetry", lambda: _telemetry(otel_variables()), timeout_s)


def _settings(config: Path | None, loaded: list[Settings]) -> str:
    settings = load_settings(config)
    loaded.append(settings)
    topics = settings.topics
    return f"{', '.join(topics.events)} -> {topics.verdicts} and {topics.dead_letters}, group {settings.kafka.group_id}"


def _policy(settings: Settings) -> str:
    policy = load_policy(settings.policy.file)
    routed = f", routes to {', '.join(policy.topics)}" if policy.topics else ""
    return f"{policy.name} version {policy.version}{routed}"


def _autoscaling(settings: Settings) -> str:
    scaling, guard, serve = settings.autoscaling, settings.guard, settings.serve
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


def _telemetry(otel: Mapping[str, str]) -> str:
    endpoint = next((otel[name] for name in _OTLP_ENDPOINTS if otel.get(name)), None)
    return f"spans go to {endpoint}" if endpoint else "off: no OTEL_EXPORTER_OTLP_ENDPOINT"
