"""Starts Ray on this machine or joins a cluster, and ends it, alike for every Ray job of ours.

Deploys nothing.
"""

import logging
import math
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

import ray
from ray.job_config import JobConfig

from schemas.errors import ModerationError
from workers.settings.loading import without_credentials
from workers.telemetry.log import log_event

log = logging.getLogger(__name__)
ON_THIS_MACHINE = "auto"
_HOST_AND_PORT = re.compile(r"(?:ray://)?([^/]+):(\d+)")
_REACH_S = 10.0
# Lines of Ray 2.60 that alarm a reader and mean that all is well. Each is dropped by its own words, nothing else is.
_TOKEN_LOGGER = "ray._private.authentication.authentication_token_setup"
# A cluster of this process has a token of its own since 2.60, and Ray says so as a warning.
_TOKEN = "Token authentication is enabled for this Ray cluster."
# Ray Data hands each actor of a pool its work by reference and has it restarted, of which Ray's C++ part tells this
# process's stderr, for each, as an error. The reference is Ray Data's own, and is there until the pool has ended.
_RESTARTS = (
    " E [0-9]+ [0-9]+] core_worker[.]cc:[0-9]+: Actor with class name: 'MapWorker[(].* max_restarts > 0[.] If the argum"
)
_DRAINED_S = 2.0
# `serve.shutdown()` ends the controller that it has just asked to end, and Ray reports the unanswered call.
_SHUTDOWN = re.compile(r"Task ServeController\.graceful_shutdown failed\..* killed by `ray\.kill`")


def start_ray(
    address: str | None,
    *,
    cpus: float = 0.0,
    variables: Mapping[str, str] | None = None,
    logs: bool,
    level: int,
    reach_s: float = _REACH_S,
) -> None:
    """Join a cluster, or start Ray in this process. `ray.shutdown()` ends either.

    Args:
        address: the cluster's, or `auto` for the one on this machine; None starts Ray here, with a logical CPU for
            each core at least.
        cpus: logical CPUs needed, where Ray starts here.
        variables: set in the processes on a cluster, less those with credentials, which would stand in the cluster's
            state and logs; here they inherit all.
        logs: print what Ray's processes write.
        level: from which Ray itself logs in this process.
        reach_s: seconds that the cluster has to accept a connection.

    Raises:
        ModerationError: there is no cluster at the address, or Ray cannot start here; in one line.
    """
    logging.getLogger(_TOKEN_LOGGER).addFilter(_is_no_news)
    if address is None:
        with _faults_of("Ray on this machine"):
            ray.init(
                "local",  # without it, Ray joins whatever cluster an earlier `ray start` left on this machine
                num_cpus=max(os.cpu_count() or 1, math.ceil(cpus)),
                include_dashboard=False,
                job_config=_job(),
                log_to_driver=logs,
                logging_level=level,
            )
    else:
        sent = without_credentials(variables or {})
        if kept := sorted(set(variables or {}) - set(sent)):
            log.warning(log_event("credentials_not_sent", variables=",".join(kept), hint="set them on the nodes"))
        environment = {"env_vars": sent} if sent else None
        with _faults_of(shown_address(address)):
            _reach(address, reach_s)
            ray.init(address, runtime_env=environment, job_config=_job(), log_to_driver=logs, logging_level=level)


def shown_address(address: str) -> str:
    """A cluster's address, for an error's beginning."""
    return "Ray on this machine" if address == ON_THIS_MACHINE else f"RAY_ADDRESS={address}"


@contextmanager
def _faults_of(where: str) -> Iterator[None]:
    """What keeps Ray from starting or from being joined, as one line of ours."""
    try:
        yield
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a bare Exception where a node is slow to start, and more
        said = " ".join(str(error).split())
        if "AF_UNIX" in said:
            said = (
                f"{tempfile.gettempdir()} is too long a name for the sockets that Ray makes there: set RAY_TMPDIR=/tmp"
            )
        raise ModerationError(f"{where}: {said}") from None


def _reach(address: str, timeout_s: float) -> None:
    """Ray itself tries for a minute and then ends the process."""
    if (server := _HOST_AND_PORT.fullmatch(address)) is not None:
        try:
            socket.create_connection((server[1], int(server[2])), timeout_s).close()
        except OSError as error:
            raise OSError(error.strerror or str(error)) from None


def _job() -> JobConfig:
    """A job whose processes do not import from the folder that the command was called in.

    Ray puts that folder in front of their path, where a user's own `schemas`, `workers` or `pipelines` would be taken
    for ours. It leaves it out for jobs that came through Ray Client, whose folder is on another machine; for these it
    also uploads no `working_dir`, and we have none. Giving one would keep the folder out, too, but processes would then
    start elsewhere, and relative paths in the settings would no longer hold.
    """
    return JobConfig(_client_job=True)


@contextmanager
def quiet_stop() -> Iterator[None]:
    """Within it, drop the report of the controller's end, which Ray prints in colours on stdout."""
    before, sys.stdout = sys.stdout, _WithoutLines(sys.stdout, _SHUTDOWN)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stdout = before


@contextmanager
def quiet_actors() -> Iterator[None]:
    """Within it, drop what Ray writes to stderr about actors of Ray Data that can be restarted, as they are started.

    C++ writes to the descriptor, which is a pipe meanwhile; whoever asks Python's `sys.stderr` still finds a terminal
    where there is one. At the other end there is a process and no thread, so that the last lines of a crash are kept;
    its session is another, so that Ctrl-C leaves it alone.
    """
    reading, writing = os.pipe()
    try:
        real = os.dup(2)
        kept = subprocess.Popen(
            ["sed", "-u", "-E", f"/{_RESTARTS}/d"], stdin=reading, stdout=real, start_new_session=True
        )
    except OSError:  # stderr is closed, or there is no sed
        os.close(reading)
        os.close(writing)
        yield
        return
    os.close(reading)
    # `real` stays open: a thread of Ray's may still be writing to this file when it is replaced again.
    own = os.fdopen(real, "w", 1, "utf-8", "backslashreplace", closefd=False)
    before, sys.stderr = sys.stderr, own
    os.dup2(writing, 2)
    os.close(writing)
    try:
        yield
    finally:
        os.dup2(real, 2)
        sys.stderr = before
        try:
            kept.wait(_DRAINED_S)
        except subprocess.TimeoutExpired:  # a process that was started meanwhile has the pipe as well
            kept.kill()
            kept.wait()


def _is_no_news(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_TOKEN)


class _WithoutLines:
    """A text stream less the lines that a pattern is found in; a line is written when it is whole.

    Args:
        stream: where the others go.
        dropped: what the lines have in them that do not.
    """

    def __init__(self, stream: TextIO, dropped: re.Pattern[str]) -> None:
        self._stream = stream
        self._dropped = dropped
        self._begun = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """See `io.TextIOBase`."""
        *whole, self._begun = (self._begun + text).split("\n")
        for line in whole:
            if not self._dropped.search(line):
                self._stream.write(f"{line}\n")
        return len(text)

    def flush(self) -> None:
        """Write what has begun, too."""
        if self._begun and not self._dropped.search(self._begun):
            self._stream.write(self._begun)
            self._begun = ""
        self._stream.flush()
