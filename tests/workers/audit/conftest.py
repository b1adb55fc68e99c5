"""Ray in this process, for the runs that have real actors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ray_session import ray_session


@pytest.fixture(scope="package")
def _local_ray() -> Iterator[None]:
    """For all tests of this folder that one process runs."""
    with ray_session(4):
        yield
