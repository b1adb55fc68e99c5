"""Ray in this process, for the runs that have real actors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ray_session import ray_session


@pytest.fixture(scope="module")
def _local_ray() -> Iterator[None]:
    """For all tests of a module."""
    with ray_session(4):
        yield
