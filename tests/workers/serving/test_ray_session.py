"""What keeps Ray from starting or from being joined is one line; what it prints and means nothing is dropped."""

import logging
import socket
import sys
from typing import Any

import pytest
import ray

from schemas.errors import ModerationError
from workers.serving.ray_session import quiet_stop, start_ray

SOCKETS = "AF_UNIX path length cannot exceed 107 bytes: '/tmp/a/very/long/one/session_2026/sockets/plasma_store'"

SHUTDOWN = (
    "\x1b[33m(raylet)\x1b[0m Task ServeController.graceful_shutdown failed. There are infinite retries remaining, so"
    " the task will be retried. Error: The actor is dead because it was killed by `ray.kill`."
)
REAL = "(raylet) Task GuardDeployment.judge failed. Error: The actor is dead because it was killed by `ray.kill`."


def start(address: str | None) -> None:
    start_ray(address, logs=False, level=logging.CRITICAL, reach_s=2.0)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (OSError(SOCKETS), "is too long a name for the sockets that Ray makes there: set RAY_TMPDIR=/tmp"),
        (SystemExit("many\n  lines"), "Ray on this machine: many lines"),
        (ValueError("no such thing"), "Ray on this machine: no such thing"),
        (Exception("The current node timed out"), "Ray on this machine: The current node timed out"),
    ],
    ids=["sockets", "exit", "value", "slow"],
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


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_that_is_not_there_is_named_before_ray_tries_for_a_minute(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(ray, "init", lambda address, **_: asked.append(address))
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"{scheme}127.0.0.1:{server.getsockname()[1]}"
        start(address)
    with pytest.raises(ModerationError, match=f"^RAY_ADDRESS={address}: Connection refused$"):
        start(address)

    assert asked == [address]


def test_the_news_of_the_token_is_dropped_and_a_warning_of_none_is_not(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray._private.authentication import authentication_token_setup

    monkeypatch.setattr(ray, "init", lambda *_, **__: None)
    start(None)
    start(None)
    authentication_token_setup._warn_token_auth_enabled()  # noqa: SLF001 - Ray calls it in `ray.init`
    authentication_token_setup._warn_token_auth_disabled()  # noqa: SLF001

    assert [record.message.partition(".")[0] for record in caplog.records if record.levelno == logging.WARNING] == [
        "Token authentication is disabled for this Ray cluster"
    ]


def test_the_controller_s_end_is_dropped_and_all_else_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout
    with quiet_stop():
        for text in (SHUTDOWN, "\n", REAL, "\n", "half a ", "line\nanother"):
            sys.stdout.write(text)
    sys.stdout.write(SHUTDOWN)

    assert sys.stdout is before
    assert capsys.readouterr().out == f"{REAL}\nhalf a line\nanother{SHUTDOWN}"
