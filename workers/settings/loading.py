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
from workers.settings.sections import Sections
from workers.settings.unsafe_pairs import unsafe_pairs

PREFIX = "WEIR_"
CONFIG_VARIABLE = "WEIR_CONFIG"
DEFAULT_CONFIG = "weir.yaml"
# pydantic-settings asks a class method for its sources, so the file of one call cannot be an argument.
_config_file: ContextVar[Path] = ContextVar("config_file")


class Settings(Sections, BaseSettings):
    """All settings. Build it with `load_settings`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True)

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
        if problems := unsafe_pairs(self):
            raise ValueError("; ".join(problems))
        return self


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
    # Replicas log JSON lines. Ray would put its prefix and colours before them, and repeat counts behind.
    os.environ.setdefault("RAY_DISABLE_WORKER_LOG_PREFIX", "1")
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
