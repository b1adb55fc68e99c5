"""Refuses what outlives its test: threads, open sockets, Kafka clients and Ray sessions. A pytest plugin.

What a fixture of a wider scope than a test makes is that fixture's, and has to end with it. Sockets that libraries open
outside Python are not seen.
"""

from __future__ import annotations

import functools
import gc
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable, Generator
from typing import Any

import pytest

PATIENCE_S = 10.0
_CLIENTS = ("KafkaConsumer", "KafkaProducer", "KafkaAdminClient")
# Of the process: the first who needs them starts them.
_OF_THE_PROCESS = ("tqdm_monitor", "pytest_timeout", "execnet", "Dummy-")

_lock = threading.Lock()
_sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
_clients: weakref.WeakSet[Any] = weakref.WeakSet()
_watched: set[type] = set()
_accepted: weakref.WeakSet[Any] = weakref.WeakSet()
_of_fixtures: dict[pytest.FixtureDef[Any], weakref.WeakSet[Any]] = {}
_failed = pytest.StashKey[bool]()


class RaySession:
    """Stands for Ray's one session of this process."""


RAY = RaySession()


def _noting(made: weakref.WeakSet[Any], create: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(create)
    def noting(self: Any, *args: Any, **options: Any) -> None:
        create(self, *args, **options)
        with _lock:
            made.add(self)

    return noting


def _forgetting(made: weakref.WeakSet[Any], close: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(close)
    def forgetting(self: Any, *args: Any, **options: Any) -> Any:
        with _lock:
            made.discard(self)
        return close(self, *args, **options)

    return forgetting


def _watch() -> None:
    """Note what is made from now on; a bare GPU machine has no kafka-python."""
    if socket.socket not in _watched:
        _watched.add(socket.socket)
        socket.socket.__init__ = _noting(_sockets, socket.socket.__init__)  # type: ignore[method-assign]
    kafka = sys.modules.get("kafka")
    for kind in (getattr(kafka, name, None) for name in _CLIENTS):
        if kind is not None and kind not in _watched:
            _watched.add(kind)
            kind.__init__ = _noting(_clients, kind.__init__)
            kind.close = _forgetting(_clients, kind.close)


def _living() -> set[Any]:
    with _lock:
        found: set[Any] = {made for made in _sockets if made.fileno() != -1}
        found |= set(_clients)
    found |= {thread for thread in threading.enumerate() if not thread.name.startswith(_OF_THE_PROCESS)}
    ray = sys.modules.get("ray")
    if ray is not None and getattr(ray, "is_initialized", bool)():
        found.add(RAY)
    return found


def _left() -> set[Any]:
    return _living() - set(_accepted) - {made for owned in _of_fixtures.values() for made in owned}


def pytest_collection_finish() -> None:
    """What importing the tests has started is the process's."""
    _watch()
    _accepted.update(_living())


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Whatever a fixture of a wider scope makes is its own until it ends."""
    if request.scope == "function":
        return (yield)
    before = _living()
    try:
        return (yield)
    finally:
        _of_fixtures[fixturedef] = weakref.WeakSet(_living() - before)


def pytest_fixture_post_finalizer(fixturedef: pytest.FixtureDef[Any]) -> None:
    """What it made has to be gone from now on."""
    _of_fixtures.pop(fixturedef, None)


def pytest_runtest_setup() -> None:
    """Kafka's client may have been imported meanwhile."""
    _watch()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember who has failed: it may not have come to its end."""
    report = yield
    if call.excinfo is not None:
        item.stash[_failed] = True
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around what keeps the records of its log, and with them what they name
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """After all fixtures of the test: nothing may be left, once what is ending has ended."""
    try:
        return (yield)
    finally:
        if isinstance(item, pytest.Function):
            item.funcargs.clear()  # they would keep alive what has come to its end
        _forget_log(item.config)
        left = _left_after_a_while()
        _accepted.update(left)  # one test is blamed for it
        if left and not item.stash.get(_failed, False):
            pytest.fail(f"outlives its test: {'; '.join(sorted(map(_name, left)))}", pytrace=False)


def _forget_log(config: pytest.Config) -> None:
    """What pytest remembers of the log names errors, their frames, and with these the sockets in them."""
    if (logs := config.pluginmanager.get_plugin("logging-plugin")) is not None:
        logs.caplog_handler.reset()
        logs.report_handler.reset()


def _left_after_a_while() -> set[Any]:
    left = _left()
    if not left:
        return left
    deadline = time.monotonic() + PATIENCE_S
    while left and time.monotonic() < deadline:
        del left
        gc.collect()  # a thread that ends leaves garbage, too
        time.sleep(0.05)
        left = _left()
    return left


def _name(made: Any) -> str:
    if isinstance(made, threading.Thread):
        return f"thread {made.name}"
    return "a Ray session" if made is RAY else f"{made!r}"[:200]
