"""Every setting of Weir, from the environment (`WEIR_…`, nested by `__`) and `weir.yaml`; the only reader of either.

The environment wins over the file. An unknown key, a key given twice, a wrong value or an unsafe pair stops
the start and is named.
"""

import os
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import ValidationError, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from pipelines.strict_yaml import sections_of
from schemas.errors import ConfigurationError
from workers.settings.sections import (
    AutoscalingSettings,
    BreakerSettings,
    DeliverySettings,
    GuardSettings,
    HealthSettings,
    KafkaSettings,
    LengthSettings,
    LimitSettings,
    PolicySettings,
    ServeSettings,
    TelemetrySettings,
    TopicSettings,
)
from workers.settings.shadow_section import ShadowSettings, unsafe_shadow_pairs

PREFIX = "WEIR_"
CONFIG_VARIABLE = "WEIR_CONFIG"
DEFAULT_CONFIG = "weir.yaml"
# pydantic-settings asks a class method for its sources, so the file of one call cannot be an argument.
_config_file: ContextVar[Path] = ContextVar("config_file")


class Settings(BaseSettings):
    """All settings. Build it with `load_settings`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True)

    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    guard: GuardSettings = GuardSettings()
    delivery: DeliverySettings = DeliverySettings()
    limits: LimitSettings = LimitSettings()
    length: LengthSettings = LengthSettings()
    policy: PolicySettings = PolicySettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    health: HealthSettings = HealthSettings()
    breaker: BreakerSettings = BreakerSettings()
    serve: ServeSettings = ServeSettings()
    autoscaling: AutoscalingSettings = AutoscalingSettings()
    shadow: ShadowSettings = ShadowSettings()

    def candidate(self) -> "Settings":
        """The settings as the shadow lane's candidate has them: what it names is its own, all else is live's."""
        shadow = self.shadow
        sections: dict[str, Any] = {}
        if shadow.has_model:
            named = {"model": shadow.model or self.guard.model, "revision": shadow.revision}
            sections["guard"] = self.guard.model_copy(update=named)
        if shadow.policy_file is not None:
            sections["policy"] = PolicySettings(file=shadow.policy_file)
        return self.model_copy(update=sections)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic-settings' signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the YAML file; no dotenv, no secrets directory."""
        path = _config_file.get(Path(os.environ.get(CONFIG_VARIABLE, DEFAULT_CONFIG)))
        return init_settings, env_settings, InitSettingsSource(settings_cls, sections_of(path))

    @model_validator(mode="after")
    def _refuse_unsafe_pairs(self) -> Self:
        problems = [message for broken, message in _unsafe_pairs(self) if broken]
        if problems:
            raise ValueError("; ".join(problems))
        return self


def _unsafe_pairs(settings: Settings) -> list[tuple[bool, str]]:
    kafka, topics, delivery = settings.kafka, settings.topics, settings.delivery
    limits, length, guard = settings.limits, settings.length, settings.guard
    outputs = (topics.verdicts, topics.dead_letters)
    sasl = kafka.security_protocol.startswith("SASL")
    return [
        (kafka.enable_auto_commit, "kafka.enable_auto_commit=true would commit offsets whose outcome is not published"),
        (kafka.acks != "all", f"kafka.acks={kafka.acks} would lose acknowledged outcomes; it must be all"),
        (
            topics.dead_letters in topics.events,
            f"topics.dead_letters={topics.dead_letters} is also in topics.events={','.join(topics.events)}",
        ),
        (
            topics.verdicts in topics.events,
            f"topics.verdicts={topics.verdicts} is also in topics.events={','.join(topics.events)}",
        ),
        (outputs[0] == outputs[1], f"topics.verdicts={outputs[0]} equals topics.dead_letters={outputs[1]}"),
        (
            limits.in_flight_records < delivery.chunk_size,
            f"limits.in_flight_records={limits.in_flight_records} is below delivery.chunk_size={delivery.chunk_size},"
            " so a batch can never fill",
        ),
        (
            limits.in_flight_tokens < length.max_tokens,
            f"limits.in_flight_tokens={limits.in_flight_tokens} is below length.max_tokens={length.max_tokens}",
        ),
        (
            limits.in_flight_bytes < limits.max_event_bytes,
            f"limits.in_flight_bytes={limits.in_flight_bytes} is below limits.max_event_bytes={limits.max_event_bytes}",
        ),
        (
            delivery.drain_timeout_s * 1000 > kafka.max_poll_interval_ms / 2,
            f"delivery.drain_timeout_s={delivery.drain_timeout_s} is more than half of"
            f" kafka.max_poll_interval_ms={kafka.max_poll_interval_ms}",
        ),
        (
            delivery.drain_timeout_s > 24,
            f"delivery.drain_timeout_s={delivery.drain_timeout_s} is above 24: Ray Serve cuts a stop off after 30 s",
        ),
        (
            kafka.heartbeat_interval_ms * 3 > kafka.session_timeout_ms,
            f"kafka.heartbeat_interval_ms={kafka.heartbeat_interval_ms} is more than a third of"
            f" kafka.session_timeout_ms={kafka.session_timeout_ms}",
        ),
        (
            length.overlap_tokens * 2 > length.max_tokens,
            f"length.overlap_tokens={length.overlap_tokens} is more than half of length.max_tokens={length.max_tokens}",
        ),
        (
            sasl and kafka.sasl_mechanism is None,
            f"kafka.security_protocol={kafka.security_protocol} needs kafka.sasl_mechanism",
        ),
        (
            not sasl and kafka.sasl_mechanism is not None,
            f"kafka.sasl_mechanism={kafka.sasl_mechanism} has no effect with"
            f" kafka.security_protocol={kafka.security_protocol}",
        ),
        (
            kafka.sasl_mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
            and (kafka.sasl_username is None or (kafka.sasl_password is None and kafka.sasl_password_file is None)),
            f"kafka.sasl_mechanism={kafka.sasl_mechanism} needs kafka.sasl_username and kafka.sasl_password or"
            " kafka.sasl_password_file",
        ),
        (
            kafka.sasl_password is not None and kafka.sasl_password_file is not None,
            f"kafka.sasl_password and kafka.sasl_password_file={kafka.sasl_password_file}: one of them",
        ),
        (
            kafka.sasl_mechanism == "OAUTHBEARER" and kafka.sasl_oauth_token_file is None,
            "kafka.sasl_mechanism=OAUTHBEARER needs kafka.sasl_oauth_token_file",
        ),
        (
            guard.engine == "reference" and (guard.batch_invariant or guard.score_temperature is not None),
            f"guard.engine={guard.engine} has neither guard.batch_invariant={guard.batch_invariant} nor"
            f" guard.score_temperature={guard.score_temperature}",
        ),
        *_unsafe_breaker_pairs(settings.breaker),
        *_unsafe_autoscaling_pairs(settings),
        *unsafe_shadow_pairs(settings.shadow, topics),
    ]


def _unsafe_breaker_pairs(breaker: BreakerSettings) -> list[tuple[bool, str]]:
    window = f"breaker.window_records={breaker.window_records}, so the ratio would never count"
    return [
        (
            breaker.failure_min_records > breaker.window_records,
            f"breaker.failure_min_records={breaker.failure_min_records} is above {window}",
        ),
        (
            breaker.input_error_min_records > breaker.window_records,
            f"breaker.input_error_min_records={breaker.input_error_min_records} is above {window}",
        ),
        (
            breaker.drift_baseline_records < breaker.drift_window_records,
            f"breaker.drift_baseline_records={breaker.drift_baseline_records} is below"
            f" breaker.drift_window_records={breaker.drift_window_records}, which is compared with it",
        ),
        (
            breaker.drift_baseline_half_life_s <= breaker.drift_window_s,
            f"breaker.drift_baseline_half_life_s={breaker.drift_baseline_half_life_s} is not above"
            f" breaker.drift_window_s={breaker.drift_window_s}, so the baseline would follow what it is compared with",
        ),
    ]


def _unsafe_autoscaling_pairs(settings: Settings) -> list[tuple[bool, str]]:
    autoscaling, guard, serve = settings.autoscaling, settings.guard, settings.serve
    most = f"autoscaling.max_replicas={autoscaling.max_replicas}"
    return [
        (
            autoscaling.min_replicas > autoscaling.max_replicas,
            f"autoscaling.min_replicas={autoscaling.min_replicas} is above {most}",
        ),
        (
            autoscaling.enabled and guard.replicas > autoscaling.max_replicas,
            f"guard.replicas={guard.replicas} is above {most}",
        ),
        (
            autoscaling.enabled and serve.consumers > autoscaling.max_consumers,
            f"serve.consumers={serve.consumers} is above autoscaling.max_consumers={autoscaling.max_consumers}",
        ),
        (
            autoscaling.enabled and autoscaling.interval_s * 10 > autoscaling.target_seconds_behind,
            f"autoscaling.interval_s={autoscaling.interval_s} is more than a tenth of"
            f" autoscaling.target_seconds_behind={autoscaling.target_seconds_behind}",
        ),
    ]


def variable_names() -> dict[str, str]:
    """Every accepted variable, mapped to its dotted setting name."""
    names = {}
    for section, field in Settings.model_fields.items():
        for name in getattr(field.annotation, "model_fields", {}):
            names[f"{PREFIX}{section}__{name}".upper()] = f"{section}.{name}"
    return names


def load_settings(config: Path | None = None, **overrides: Any) -> Settings:
    """Read environment and file.

    Args:
        config: the file, in place of the one that WEIR_CONFIG names.
        overrides: sections that win over both, e.g. `guard={"model": "demo"}`.

    Raises:
        ConfigurationError: names every wrong key with its value; secrets are not repeated.
    """
    known = variable_names()
    for name in os.environ:
        upper = name.upper()
        if upper.startswith(PREFIX) and upper not in known and upper != CONFIG_VARIABLE:
            raise ConfigurationError(f"{name}: unknown setting")
    named = os.environ.get(CONFIG_VARIABLE)
    path = config or Path(named or DEFAULT_CONFIG)
    if (config or named) and not path.is_file():
        raise ConfigurationError(f"{'--config' if config else CONFIG_VARIABLE}={path}: no such file")
    token = _config_file.set(path)
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = [_describe(item) for item in error.errors(include_url=False)]
        raise ConfigurationError("\n".join(lines)) from None
    except (OSError, ValueError, yaml.YAMLError) as error:  # a file that is no mapping, or not YAML
        raise ConfigurationError(f"{path}: {' '.join(str(error).split())}") from None
    finally:
        _config_file.reset(token)


def _describe(item: Any) -> str:
    name = ".".join(str(part) for part in item["loc"])
    if not name:
        return str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        return f"{name}: unknown setting"
    value = "(hidden)" if name.endswith("password") or isinstance(item["input"], dict) else repr(item["input"])
    return f"{name}={value}: {item['msg']}"


def otel_variables() -> dict[str, str]:
    """The standard `OTEL_…` variables."""
    return {name: value for name, value in os.environ.items() if name.startswith("OTEL_")}


def ray_address() -> str | None:
    """The cluster to join, `RAY_ADDRESS`; None starts Ray in this process."""
    return os.environ.get("RAY_ADDRESS") or None


def prepare_ray() -> None:
    """Defaults of Ray that we differ from; they must stand in the environment before Ray is imported."""
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_SERVE_LOG_TO_STDERR", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"):
        os.environ.setdefault(name, "0")
    # Replicas log JSON, a line each; before it, Ray writes who and colours, and behind it how often it came.
    os.environ.setdefault("RAY_DISABLE_WORKER_LOG_PREFIX", "1")
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")


def settings_table() -> str:
    """All settings as a Markdown table; `infra/docs/settings.md` is this text."""
    rows = ["| variable | default | what it is |", "|---|---|---|"]
    for section, field in Settings.model_fields.items():
        for name, item in getattr(field.annotation, "model_fields", {}).items():
            default = item.default
            shown = ",".join(default) if isinstance(default, tuple) else "" if default is None else str(default)
            variable = f"{PREFIX}{section}__{name}".upper()
            rows.append(f"| `{variable}` | {f'`{shown}`' if shown else ''} | {item.description} |")
    return "\n".join(rows)
