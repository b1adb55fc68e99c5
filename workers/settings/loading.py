"""Every setting of Weir, from the environment (`WEIR_…`, nested by `__`) and `weir.yaml`; the only reader of either.

The environment wins over the file. An unknown key, a key given twice, a wrong value or an unsafe pair stops
the start and is named.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from pipelines.strict_yaml import sections_of
from schemas.errors import ConfigurationError
from schemas.suggestion import did_you_mean
from workers.settings.section import leaves_of
from workers.settings.sections import SECRETS, Sections
from workers.settings.unsafe_pairs import unsafe_pairs

PREFIX = "WEIR_"
CONFIG_VARIABLE = "WEIR_CONFIG"
DEFAULT_CONFIG = "weir.yaml"
# pydantic-settings asks a class method for its sources, so the file of one call cannot be an argument.
_config_file: ContextVar[Path] = ContextVar("config_file")
# What a wrong value may be shown of: one that is somebody's secret in the wrong place would be among these.
_HIDDEN = re.compile(r"kafka\.(sasl|ssl)_.*|guard\.remote\.urls")
_NAME = re.compile(r"[A-Za-z_][\w-]{0,63}")
_CREDENTIALS = re.compile(r"://[^/?#]*@|[?&;]")


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

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Secrets are in no pickle: they are found again in the environment of the process that unpickles."""
        values = state["__dict__"]
        found = {key: os.environ.get(_variable("kafka", key)) for key in SECRETS}
        given = {key: SecretStr(value) for key, value in found.items() if value}
        kafka = values["kafka"].model_copy(update=given)
        super().__setstate__({**state, "__dict__": {**values, "kafka": kafka}})


def variable_names() -> dict[str, str]:
    """Every accepted variable, mapped to its dotted setting name."""
    return {_variable(*name.split(".")): name for name, _ in leaves_of(Settings)}


def _variable(*path: str) -> str:
    return f"{PREFIX}{'__'.join(path)}".upper()


def load_settings(config: Path | None = None, **overrides: Any) -> Settings:
    """Read environment and file.

    Args:
        config: the file, in place of the one that WEIR_CONFIG names.
        overrides: sections that win over both, e.g. `guard={"model": "demo"}`.

    Raises:
        ConfigurationError: names every wrong key with its value; secrets are not repeated.
    """
    known = variable_names()
    ours = {*known, CONFIG_VARIABLE}
    unknown = sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in ours)
    if unknown:
        faults = (f"{name}: unknown setting{did_you_mean(name, ours)}" for name in unknown)
        raise ConfigurationError("\n".join(faults))
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
    except SettingsError as error:  # a variable whose text is not the JSON that its section needs; names it alone
        raise ConfigurationError(str(error)) from None
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    except yaml.YAMLError as error:  # a file that is no mapping, or not YAML
        raise ConfigurationError(f"{path}: {' '.join(str(error).split())}") from None
    finally:
        _config_file.reset(token)


def _describe(item: Any) -> str:
    """One fault, with the value only where it is a plain one of a setting that has no secret near it."""
    parts = [str(part) for part in item["loc"]]
    if not parts:
        return str(item["msg"]).removeprefix("Value error, ")
    *sections, last = parts
    if item["type"] == "extra_forbidden":
        shown = last if _NAME.fullmatch(last) else "(no name)"  # a secret where a name should be
        whole = ".".join([*sections, shown])
        likely = variable_names().values() if sections else Settings.model_fields
        return f"{whole}: unknown setting{did_you_mean(whole, likely)}"
    known, value = variable_names().values(), item["input"]
    # Below a setting there is what was found in its place.
    name = next((found for end in range(2, len(parts) + 1) if (found := ".".join(parts[:end])) in known), None)
    if name is None:
        return f"{'.'.join(parts)}: a mapping of settings is needed, found {type(value).__name__}"
    shown = "(hidden)" if _HIDDEN.fullmatch(name) or not _is_plain(value) else repr(value)
    return f"{name}={shown}: {item['msg']}"


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float | bool | None)


@contextmanager
def secrets_handed_down(settings: Settings) -> Iterator[None]:
    """Have the secrets of these settings in the environment, where processes that are started meanwhile find them.

    They are in no pickle, so that none is in Ray's state.
    """
    found = {_variable("kafka", name): getattr(settings.kafka, name) for name in SECRETS}
    given = {name: secret.get_secret_value() for name, secret in found.items() if secret is not None}
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def without_credentials(variables: Mapping[str, str]) -> dict[str, str]:
    """Those variables that may stand in Ray's state and logs: no headers, no address with a login or a query."""
    return {
        name: value
        for name, value in variables.items()
        if not name.endswith("_HEADERS") and not ("://" in value and _CREDENTIALS.search(value))
    }


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
