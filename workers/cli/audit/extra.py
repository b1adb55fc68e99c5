"""Checks that the extra `audit`, which the commands on audits need, is installed.

Imports nothing of it.
"""

from importlib.util import find_spec

from schemas.errors import ConfigurationError

_MODULES = ("jinja2", "pandas", "pyarrow")


def need_extra() -> None:
    """Raises ConfigurationError: the extra is not installed."""
    for name in _MODULES:
        if find_spec(name) is None:
            raise ConfigurationError(f"weir audit needs {name}: pip install 'weir-moderation[audit]'")
