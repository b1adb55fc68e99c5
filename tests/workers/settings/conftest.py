"""Settings that are read in a test are those that the test gives."""

import os
from pathlib import Path

import pytest

from workers.settings.loading import PREFIX


@pytest.fixture(autouse=True)
def _empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No `weir.yaml` and no variable of the machine's own."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)
