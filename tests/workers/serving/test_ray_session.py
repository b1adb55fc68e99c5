"""What keeps Ray from starting or from being joined is one line, with what to do."""

import logging
import socket
from typing import Any

import pytest
import ray

from schemas.errors import ModerationError
from workers.serving.ray_session import start_ray

SOCKETS = "AF_UNIX path length cannot exceed 107 bytes: '/tmp/a/very/long/one/session_2026/sockets/plasma_store'"


def start(address: str | None) -> None:
    start_ray(address, logs=False, level=logging.CRITICAL, reach_s=2.0)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (OSError(SOCKETS), "is too long a name for the sockets that Ray makes there: set RAY_TMPDIR=/tmp"),
        (SystemExit("many\n  lines"), "Ray on this machine: many lines"),
        (ValueError("no such thing"), "Ray on this machine: no such thing"),
    ],
    ids=["sockets", "exit", "value"],
)
def test_ray_that_cannot_start_here_says_why_in_one_line(
    monkeypatch: pytest.MonkeyPatch, raised: BaseException, said: str
) -> None:
    def init(*_: Any, **__: Any) -> None:
        raise raised

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ModerationError) as caught:
        start(None)

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cluster_that_is_not_there_is_named_before_ray_tries_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(ray, "init", lambda address, **_: asked.append(address))
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        start(address)
    with pytest.raises(ModerationError, match=f"^RAY_ADDRESS={address}: Connection refused$"):
        start(address)

    assert asked == [address]
