"""What Ray keeps: keys of its state whose value has a text. `python -m` it with an address and texts, as a new process.

Ray reads its token once in a process.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import ray
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_list

_NAMESPACES = (None, "serve", "fun", "job", "session", "cluster", "healthcheck", "dashboard", "usage_stats")


def state_with(text: str) -> list[str]:
    """Keys whose value, or which themselves, have the text."""
    sought = text.encode()
    return [
        repr(key)
        for namespace in _NAMESPACES
        for key in _internal_kv_list(b"", namespace=namespace)
        if sought in key or sought in (_internal_kv_get(key, namespace=namespace) or b"")
    ]


def files_with(text: str, folder: Path) -> list[str]:
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and text.encode() in path.read_bytes()
    ]


def main() -> None:
    """Print the keys, for each text."""
    address, *texts = sys.argv[1:]
    ray.init(address, log_to_driver=False, logging_level="ERROR")
    print(json.dumps({text: state_with(text) for text in texts}))  # noqa: T201 - a command
    ray.shutdown()


if __name__ == "__main__":
    main()
