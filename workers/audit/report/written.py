"""Writes a report's files, so that each is there as a whole or not at all.

Knows nothing of what is in them.
"""

import os
import re
from pathlib import Path

from schemas.errors import ConfigurationError

# As the page and the JSON beside it name their run, near their beginnings.
_RUN = re.compile(rb'(?:<meta name="weir-run" content="|"run_id": ")([^"]+)"')
_HEAD_BYTES = 4096


def refuse_other_run(path: Path, run_id: str) -> None:
    """Refuse to write over the report of another run; what is no report is its owner's choice.

    Raises:
        ConfigurationError: there is one.
    """
    try:
        with path.open("rb") as file:
            found = _RUN.search(file.read(_HEAD_BYTES))
    except OSError:  # not there, or said when it is written
        return
    if found is not None and found[1] != run_id.encode():
        raise ConfigurationError(f"{path}: is the report of another run; choose another file, or remove it")


def write_whole(path: Path, content: str, *, private: bool) -> None:
    """Write a file in the place of an earlier one.

    Args:
        path: where it goes.
        content: its text.
        private: only its owner may read it.

    Raises:
        ConfigurationError: it cannot be written there.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            partial.unlink(missing_ok=True)  # of one that was killed: in a container numbers of processes come again
            with open(partial, "x", encoding="utf-8", opener=_private if private else None) as file:
                file.write(content)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
