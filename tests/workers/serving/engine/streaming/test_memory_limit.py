"""How much memory there is for pages: what the container has left, where it has a limit."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from workers.serving.engine.stream_guard import left_in_container


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"memory.max": "1000\n", "memory.current": "400\n"}, 600),
        ({"memory.max": "1000\n", "memory.current": "1400\n"}, 0),
        ({"memory.max": "max\n", "memory.current": "400\n"}, sys.maxsize),
        ({"memory/memory.limit_in_bytes": "900\n", "memory/memory.usage_in_bytes": "400\n"}, 500),
        ({}, sys.maxsize),
    ],
)
def test_a_control_groups_limit_counts_less_what_is_used(tmp_path: Path, files: Mapping[str, str], left: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    assert left_in_container(tmp_path) == left
