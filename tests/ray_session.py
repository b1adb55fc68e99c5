"""Ray on this machine for a test or a module of tests, with or without Serve, of which nothing is left behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray import serve
from ray.serve._private.router import SingletonThreadRouter


@contextmanager
def ray_session(cpus: int) -> Iterator[None]:
    """Ray, with so many logical CPUs."""
    ray.init("local", num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def serve_session(cpus: int) -> Iterator[None]:
    """Ray with Serve."""
    with ray_session(cpus), serve_on_ray():
        yield


@contextmanager
def serve_on_ray() -> Iterator[None]:
    """Serve, on the session that there is."""
    try:
        serve.start(proxy_location="Disabled")
        yield
    finally:
        serve.shutdown()
        _end_loop_of_handles()


def _end_loop_of_handles() -> None:
    """End the thread that Serve starts with a process's first handle, and has no way to end."""
    loop, SingletonThreadRouter._asyncio_loop = SingletonThreadRouter._asyncio_loop, None  # noqa: SLF001
    if loop is None:
        return
    asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result(timeout=10)
    loop.call_soon_threadsafe(loop.stop)
    while loop.is_running():
        time.sleep(0.001)
    loop.close()


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
