"""A lease is had by exactly one of those who want it at once, on a disk without locks and in an object store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from urllib.parse import unquote

import pytest
from obstore.store import MemoryStore
from pyarrow import fs

from schemas.errors import ConfigurationError, ModerationError
from tests.workers.audit.object_server import ObjectServer, object_server
from workers.audit.lease import Lease
from workers.audit.lease_file import AnyFile, LeaseFile, LocalFile, Seen, StoredFile, lease_file

ROUNDS = 200
Files = Callable[[int], LeaseFile]


@pytest.fixture(params=["disk", "object store"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    """One file for each number, by a caller of its own each time."""
    store = MemoryStore()

    def made(number: int) -> LeaseFile:
        if request.param == "disk":
            return LocalFile(tmp_path / str(number) / "driver.json")
        return StoredFile(store, f"run/{number}/driver.json")

    return made


@pytest.fixture
def two() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def at_once(two: ThreadPoolExecutor, file: Callable[[], LeaseFile], after: Seen | None) -> list[Seen | None]:
    """What two get who write at the same moment."""
    barrier = Barrier(2)

    def write(name: str) -> Seen | None:
        mine = file()
        barrier.wait()
        return mine.write(json.dumps({"token": name}).encode(), after)

    return list(two.map(write, ("a", "b")))


def test_of_two_who_start_at_once_exactly_one_has_it(files: Files, two: ThreadPoolExecutor) -> None:
    for number in range(ROUNDS):
        got = at_once(two, lambda number=number: files(number), None)  # type: ignore[misc]

        won = [seen for seen in got if seen is not None]
        assert len(won) == 1, number
        assert files(number).read() == won[0]


def test_what_a_dead_driver_has_left_is_taken_over_by_exactly_one(files: Files, two: ThreadPoolExecutor) -> None:
    for number in range(ROUNDS):
        dead = files(number).write(b'{"token": "dead"}', None)
        got = at_once(two, lambda number=number: files(number), dead)  # type: ignore[misc]

        won = [seen for seen in got if seen is not None]
        assert len(won) == 1, number
        assert files(number).read() == won[0]


def test_two_who_wait_for_a_dead_driver_do_not_both_drive(files: Files, two: ThreadPoolExecutor) -> None:
    files(0).write(json.dumps({"host": "h", "pid": 1, "since": "s", "token": "dead"}).encode(), None)
    done = Barrier(2)

    def drive(_: int) -> str:
        try:
            with Lease("run", files(0), 0.05, 0.3) as lease:
                lease.check()
                done.wait(30)
                return "drove"
        except ModerationError as error:
            done.wait(30)
            return str(error)

    assert sorted(said[:31] for said in two.map(drive, range(2))) == ["drove", "run: another audit run writes t"]


def test_one_who_left_keeps_nobody_waiting(files: Files, tmp_path: Path) -> None:
    for _ in range(3):
        with Lease("run", files(0), 60.0, 60.0) as lease:
            lease.check()
        assert files(0).read() is None
    assert [path.name for path in (tmp_path / "0").glob("*")] == []


def test_one_who_wakes_up_behind_its_successor_says_so_and_leaves_the_file_alone(files: Files) -> None:
    with Lease("run", files(0), 0.02, 60.0) as lease:
        other = json.dumps({"host": "other", "pid": 7, "since": "now", "token": "x"}).encode()
        taken = None
        while taken is None:  # between two of its renewals
            taken = files(0).write(other, files(0).read())
        lease._thread.join(30)  # noqa: SLF001 - it ends once it has seen that

        with pytest.raises(ModerationError, match="process 7 on other, since now"):
            lease.check()
    assert files(0).read() == taken


def test_a_guard_that_stays_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "driver.json.guard").mkdir()
    monkeypatch.setattr("workers.audit.lease_file.GUARD_LOOK_S", 0.0)

    with (
        pytest.raises(ConfigurationError, match=r"run: cannot be written: driver\.json\.guard stays there"),
        Lease("run", LocalFile(tmp_path / "driver.json"), 10.0, 60.0),
    ):
        pytest.fail("nobody can have it")


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret of the test")


def opened(server: ObjectServer, where: str = "s3://") -> LeaseFile:
    uri = f"{where}bucket/runs/2026?{server.options}" + ("&region=here" if where == "s3://" else "")
    files, root = fs.FileSystem.from_uri(uri)
    return lease_file(uri, files, f"{root}/driver.json")


@pytest.mark.parametrize("where", ["s3://", "gs://anonymous@"])
@pytest.mark.usefixtures("credentials")
def test_a_uri_leads_to_conditional_writes_in_its_store(caplog: pytest.LogCaptureFixture, where: str) -> None:
    with object_server() as server:
        first, second = opened(server, where), opened(server, where)
        held = first.write(b"1", None)

        assert held is not None
        assert first.is_exclusive
        assert list(map(unquote, server.objects)) == ["/bucket/runs/2026/driver.json"]
        assert second.write(b"2", None) is None
        server.answers_to_lose = 1
        held = first.write(b"1 again", held)  # its second try is refused, because its first one was done
        assert held is not None
        assert held == second.read()
        first.leave(held)
        assert second.write(b"2", None) is not None
    assert not caplog.records


@pytest.mark.usefixtures("credentials")
def test_a_store_that_takes_no_notice_of_conditions_is_found_out(caplog: pytest.LogCaptureFixture) -> None:
    with object_server(conditional=False) as server:
        file = opened(server)
        held = file.write(b"1", None)

        assert held == file.read()
        assert not file.is_exclusive
    assert "the store takes no notice of conditions" in caplog.text


@pytest.mark.usefixtures("credentials")
def test_a_store_that_obstore_cannot_reach_has_a_lease_that_says_that_it_is_not_exclusive(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with object_server() as server:
        gone = server.options
    uri = f"s3://bucket/run?{gone}&region=here"

    file = lease_file(uri, fs.S3FileSystem(anonymous=True, region="here"), "bucket/run/driver.json")

    assert isinstance(file, AnyFile)
    assert "audit_lease_not_exclusive" in caplog.text
    assert "OSError of obstore" in caplog.text


def test_another_file_system_has_what_it_can(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    file = lease_file("hdfs://name/run", fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "run/driver.json")

    held = file.write(b"1", None)
    assert file.write(b"2", None) is None
    assert held is not None
    file.leave(held)
    assert file.read() is None
    assert not file.is_exclusive
    assert "no conditional writes for this file system" in caplog.text
