"""What keeps Ray from starting or from being joined is one line; what it prints and means nothing is dropped."""

import logging
import os
import signal
import socket
import subprocess
import sys
from typing import Any

import pytest
import ray

from schemas.errors import ModerationError
from workers.serving import ray_session
from workers.serving.ray_session import quiet_actors, quiet_stop, start_ray

SOCKETS = "AF_UNIX path length cannot exceed 107 bytes: '/tmp/a/very/long/one/session_2026/sockets/plasma_store'"

SHUTDOWN = (
    "\x1b[33m(raylet)\x1b[0m Task ServeController.graceful_shutdown failed. There are infinite retries remaining, so"
    " the task will be retried. Error: The actor is dead because it was killed by `ray.kill`."
)
RESTARTS = (
    "[2026-11-30 02:55:33,743 E 32355 32355] core_worker.cc:2465: Actor with class name: 'MapWorker(MapBatches(_Shared"
    "Actor))' and ID: 'a6a2fd02313a34ce0bfad37c01000000' has constructor arguments in the object store and max_restarts"
    " > 0. If the arguments in the object store go out of scope or are lost, the actor restart will fail. See https://"
    "github.com/ray-project/ray/issues/53727 for more details.\n"
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


def test_what_ray_says_of_actors_that_may_be_restarted_is_dropped_and_all_else_is_printed(
    capfd: pytest.CaptureFixture[str],
) -> None:
    error = RESTARTS.replace("Actor with", "Lost an actor with")
    other = RESTARTS.replace("MapWorker(MapBatches(_SharedActor))", "Consumer")
    before = sys.stderr
    with quiet_actors():
        for text in (RESTARTS, error, RESTARTS[:70], RESTARTS[70:], other, "half"):  # as C++ writes
            os.write(2, text.encode())
        print("ours", file=sys.stderr)  # noqa: T201 - past the pipe, so that a bar still is on its terminal
        assert sys.stderr.fileno() != 2
    os.write(2, RESTARTS.encode())

    assert sys.stderr is before
    said = capfd.readouterr().err
    assert said.replace("ours\n", "") == f"{error}{other}half{RESTARTS}"
    assert "ours\n" in said


def test_a_process_that_outlives_the_start_and_has_our_stderr_keeps_nobody_waiting(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_session, "_DRAINED_S", 0.1)
    with quiet_actors():
        sleeping = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    sleeping.communicate(b"\n", timeout=30)

    assert (sleeping.returncode, capfd.readouterr().err) == (0, "")


def test_without_sed_nothing_is_done(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with quiet_actors():
        os.write(2, RESTARTS.encode())

    assert capfd.readouterr().err == RESTARTS


def test_the_last_lines_of_a_crash_are_printed() -> None:
    code = f"""
import os
from workers.serving.ray_session import quiet_actors
with quiet_actors():
    os.write(2, {RESTARTS + "*** SIGABRT received"!r}.encode())
    os.abort()
"""
    crashed = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)

    assert (crashed.returncode, crashed.stderr) == (-signal.SIGABRT, "*** SIGABRT received")


def test_where_stderr_is_closed_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(_descriptor: int) -> int:
        raise OSError

    monkeypatch.setattr(os, "dup", closed)
    before = sys.stderr
    with quiet_actors():
        assert sys.stderr is before
