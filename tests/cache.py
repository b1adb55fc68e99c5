"""The folder of what tests fetch or build once, outside the clone, and one builder of a thing at a time.

`TESTS_CACHE` names another folder.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

CACHE = Path(
    os.environ.get("TESTS_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "weir-tests"
).expanduser()


class UnavailableError(RuntimeError):
    """Something that tests need cannot be had on this machine; the text says why in one line."""


def exclusive(name: str) -> _Lock:
    """One builder of a name at a time, also among processes. Use as a context manager."""
    return _Lock(CACHE / f"{name}.lock")


class _Lock:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()


def built_once(folder_name: str, name: str, build: Callable[[Path], None]) -> Path:
    """The path of `name` in a folder of the cache; where it is missing, `build` is given an empty folder to make it in.

    Raises UnavailableError, from `build`.
    """
    folder = CACHE / folder_name
    with exclusive(folder_name):
        if not (folder / name).exists():
            # Beside its place and moved there when whole: a build that was broken off is not taken for a good one.
            unfinished = folder.with_name(f"{folder_name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            build(unfinished)
            shutil.rmtree(folder, ignore_errors=True)
            unfinished.rename(folder)
    return folder / name
