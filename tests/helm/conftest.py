"""The tier of the chart: real Helm and its checkers, which `make test-helm` builds; skipped where they are not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cache import UnavailableError
from tests.helm.go_tools import TOOLS, checker, tool

_FOLDER = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder before `-m` chooses."""
    for item in items:
        if item.path.is_relative_to(_FOLDER):
            item.add_marker(pytest.mark.helm)


@pytest.fixture(scope="session", autouse=True)
def _built() -> None:
    try:
        for name in TOOLS:
            tool(name)
        for name in ("objects", "images"):
            checker(name)
    except UnavailableError as error:
        if os.environ.get("REQUIRE_HELM") == "1":
            pytest.fail(f"REQUIRE_HELM=1, but {error}", pytrace=False)
        pytest.skip(f"chart tier skipped: {error}")
