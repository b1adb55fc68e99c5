"""Measured figures from a user: from a file, or given as a rate.

Our own are in `pipelines.capacity.figures`.
"""

import json
from math import inf, isfinite
from pathlib import Path
from typing import Any

from pipelines.capacity.figures import MEASURED, EngineFigure
from schemas.errors import ConfigurationError

_KEYS = set(EngineFigure._fields)


def known_figures(path: Path | None, rate: float | None, gpu: str, model: str) -> tuple[EngineFigure, ...]:
    """What is known of engines; the first that fits a load counts.

    Args:
        path: JSON list of figures, which go before ours; None: none.
        rate: messages/s measured of one replica under the very load, which goes before all; None: not measured.
        gpu: that it was measured on.
        model: that it was measured with.

    Raises:
        ConfigurationError: the file cannot be read or has something else in it; the rate is no number above 0.
    """
    known = MEASURED if path is None else (*_read(path), *MEASURED)
    if rate is None:
        return known
    if not (isfinite(rate) and rate > 0):
        raise ConfigurationError(f"rate: {rate} is not a number above 0")
    return (EngineFigure(gpu, model, None, rate, "given by --rate"), *known)


def _read(path: Path) -> tuple[EngineFigure, ...]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"{path}: not JSON: {type(error).__name__}") from None
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise ConfigurationError(f"{path}: not a list of objects")
    return tuple(_figure(path, number, entry) for number, entry in enumerate(content, 1))


def _figure(path: Path, number: int, entry: dict[str, Any]) -> EngineFigure:
    if set(entry) != _KEYS:
        raise ConfigurationError(f"{path}: figure {number} has not exactly {', '.join(EngineFigure._fields)}")
    figure = EngineFigure(**entry)
    for name in ("gpu", "model", "source"):
        if not isinstance(entry[name], str) or not entry[name]:
            raise ConfigurationError(f"{path}: figure {number}: {name} is not a name")
    for name in ("tokens", "messages_per_second"):
        value = entry[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < inf:
            raise ConfigurationError(f"{path}: figure {number}: {name} is not a number above 0")
    return figure
