"""Ray in this process, for the modules whose runs have real actors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import ray


@pytest.fixture(scope="module")
def _local_ray() -> Iterator[None]:
    """For all tests of a module."""
    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()
