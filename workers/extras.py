"""What each extra of the distribution brings, and the one line that says which is missing.

Imports none of it, and nothing else of Weir but its errors.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from schemas.errors import ConfigurationError

EXTRA_OF = {
    **dict.fromkeys(
        (
            "aiohttp",
            "numpy",
            "ray",
            "safetensors",
            "starlette",
            "tokenizers",
            "torch",
            "transformers",
            "uvicorn",
            "websockets",
        ),
        "serve",
    ),
    **dict.fromkeys(("jinja2", "obstore", "pandas", "pyarrow"), "audit"),
    "confluent_kafka": "demo",
}
"""Module to the extra that has it; whatever else is imported is always installed."""


@contextmanager
def extras_named() -> Iterator[None]:
    """Within it, an import that an extra would have made possible says so.

    Raises:
        ConfigurationError: in place of the import's error, with the command to type.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in EXTRA_OF:  # a part of a package that is there is not what an extra lacks
            raise
        raise _missing(error.name) from None


def need(*modules: str) -> None:
    """Say before any work that an extra is missing.

    Raises:
        ConfigurationError: one of the modules is not installed; with the command to type.
    """
    for name in modules:
        if find_spec(name) is None:
            raise _missing(name)


def _missing(module: str) -> ConfigurationError:
    return ConfigurationError(f"{module} is not installed: pip install 'weir-moderation[{EXTRA_OF[module]}]'")
