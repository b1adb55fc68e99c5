"""One driver of a run at a time, in processes of their own: refused by name, and never by one that is dead."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError, ModerationError
from tests.weir_result import Result
from tests.workers.audit.idle_driver import LEASE_S, RENEW_S, no_locks
from tests.workers.audit.scripted_lane import chat, write_parquet
from workers.audit.run_folder import DRIVER, RunFolder
from workers.audit.run_lock import StillOurs, driver_of, driving

Driver = subprocess.Popen[str]
Start = Callable[[Path], Driver]


class Clock:
    """Half a second passes with each look at it: a lease runs out while its driver is dead, and nobody waits for it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.5
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Of the drivers of this process."""
    made = Clock()
    monkeypatch.setattr("workers.audit.lease.monotonic", made)
    return made


@pytest.fixture(params=["lock", "lease"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How drivers exclude each other, in this process and in those of `start`."""
    if request.param == "lease":
        monkeypatch.setattr("fcntl.flock", no_locks)
    return str(request.param)


@pytest.fixture
def start(kind: str) -> Iterator[Start]:
    """Starts a driver in a process of its own; returns once it drives."""
    drivers: list[Driver] = []

    def started(run: Path) -> Driver:
        command = [
            sys.executable,
            "-m",
            "tests.workers.audit.idle_driver",
            str(run),
            *(["lease"] if kind == "lease" else []),
        ]
        drivers.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert drivers[-1].stdout is not None
        assert drivers[-1].stdout.readline() == "drives\n"
        return drivers[-1]

    yield started
    for driver in drivers:
        driver.kill()
        driver.communicate()


def test_a_second_driver_is_refused_and_told_who_the_first_is(start: Start, tmp_path: Path) -> None:
    first = start(tmp_path / "run")
    with (
        pytest.raises(ModerationError, match=f"process {first.pid} on {socket.gethostname()}, since 20"),
        driving(str(tmp_path / "run"), renew_s=RENEW_S, lease_s=LEASE_S),
    ):
        pytest.fail("two of them")

    assert json.loads((tmp_path / "run" / DRIVER).read_text(encoding="utf-8"))["pid"] == first.pid
    first.communicate()
    with driving(str(tmp_path / "run"), renew_s=RENEW_S, lease_s=LEASE_S):
        pass
    assert not (tmp_path / "run").exists()  # nothing was put into it


@pytest.mark.usefixtures("kind")
def test_nobody_is_waited_for_where_nobody_has_driven(tmp_path: Path, clock: Clock) -> None:
    with driving(str(tmp_path / "run"), renew_s=60.0, lease_s=LEASE_S):
        assert clock.now < LEASE_S


def test_a_driver_that_was_killed_keeps_nobody_out(start: Start, tmp_path: Path, kind: str, clock: Clock) -> None:
    first = start(tmp_path)
    first.send_signal(signal.SIGKILL)
    first.wait()

    assert (tmp_path / DRIVER).exists()
    assert RunFolder(str(tmp_path)).is_empty()
    with driving(str(tmp_path), renew_s=RENEW_S, lease_s=LEASE_S) as still_ours:
        still_ours()
        waited = clock.now
        assert json.loads((tmp_path / DRIVER).read_text(encoding="utf-8"))["pid"] == os.getpid()
    assert (waited < LEASE_S) == (kind == "lock")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("kind", ["lease"], indirect=True)
def test_a_driver_that_stood_still_past_its_lease_finds_the_run_anothers(start: Start, tmp_path: Path) -> None:
    first = start(tmp_path)
    first.send_signal(signal.SIGSTOP)
    with driving(str(tmp_path), renew_s=RENEW_S, lease_s=LEASE_S) as still_ours:
        first.send_signal(signal.SIGCONT)
        first.communicate()

        assert json.loads((tmp_path / DRIVER).read_text(encoding="utf-8"))["pid"] == os.getpid()
        still_ours()
        (tmp_path / DRIVER).write_text(json.dumps({"host": "other", "pid": 7, "since": "now", "token": "x"}))
        said = _lost(still_ours)

    assert "another audit run writes to it: process 7 on other, since now" in said
    assert (tmp_path / DRIVER).exists()  # it is the other's


def test_the_command_is_refused_before_it_reads_anything(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.audit.run_lock.RENEW_S", RENEW_S)
    log = write_parquet(tmp_path / "chat.parquet", chat(20))
    run = tmp_path / "run"
    first = start(run)
    result = Result("audit", "run", str(tmp_path / "no such file"), "--into", str(run), "--map", "text=body")
    estimated = Result("audit", "run", str(log), "--into", str(run), "--map", "text=body", "--dry-run", "--json")

    assert result.code == 2
    assert result.err.count("\n") == 1 + result.err.count("audit_driver_waited_for")
    assert f"weir: {run}: another audit run writes to it: process {first.pid} on" in result.err
    assert estimated.json["rows"] == 20  # it writes nothing
    assert {path.name for path in run.iterdir()} == {DRIVER}


@pytest.mark.usefixtures("clock")
def test_who_drives_can_be_seen_and_whether_it_lives(start: Start, tmp_path: Path, kind: str) -> None:
    locks = kind == "lock"
    assert driver_of(str(tmp_path)) is None
    first = start(tmp_path)
    alive = driver_of(str(tmp_path))
    first.send_signal(signal.SIGKILL)
    first.wait()
    dead = driver_of(str(tmp_path))

    assert alive is not None
    assert alive == (socket.gethostname(), first.pid, alive.since, True if locks else None)
    assert dead == alive._replace(lives=False if locks else None)
    with driving(str(tmp_path), renew_s=RENEW_S, lease_s=LEASE_S):
        seen = driver_of(str(tmp_path))
        assert seen is not None
        assert seen.pid == os.getpid()
    assert driver_of(str(tmp_path)) is None
    (tmp_path / DRIVER).mkdir()
    with pytest.raises(ModerationError, match="cannot be read"):
        driver_of(str(tmp_path))


@pytest.mark.parametrize("kind", ["lock"], indirect=True)
@pytest.mark.usefixtures("kind")
def test_one_who_only_looks_keeps_no_driver_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / DRIVER).open("wb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        asked: list[int] = []
        flock = fcntl.flock

        def noted(descriptor: int, operation: int) -> None:
            asked.append(operation)
            if len(asked) == 6:  # after one look for locks, and two tries
                flock(looking, fcntl.LOCK_UN)
            flock(descriptor, operation)

        monkeypatch.setattr("fcntl.flock", noted)
        with driving(str(tmp_path)):
            assert len(asked) > 6


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")

    with pytest.raises(ConfigurationError, match="file/run: cannot be"), driving(str(tmp_path / "file" / "run")):
        pass


def _lost(still_ours: StillOurs) -> str:
    """What it says once it has looked."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            still_ours()
        except ModerationError as error:
            return str(error)
        time.sleep(RENEW_S / 10)  # between looks at a thread of its own pace
    raise AssertionError("it did not notice")


def test_a_link_in_the_place_of_the_drivers_file_is_refused_and_its_end_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine", encoding="utf-8")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / DRIVER).symlink_to(precious)

    with pytest.raises(ConfigurationError, match=r"driver\.json is a link"), driving(str(tmp_path / "run")):
        pass
    assert precious.read_text(encoding="utf-8") == "mine"
