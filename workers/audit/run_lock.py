"""Lets one driver at a time work on a run, by the kernel's lock on a file, or by a lease where there are no locks.

With flock, as local disks and NFS have it, exclusion is exact, and a lock ends with its process. pyarrow's object
stores have no operation that only one of two callers can do. There the file is a lease that its driver renews; one that
has not been renewed for `LEASE_S` is a dead driver's. Two drivers that begin at the same moment may both work until the
next renewal stops one; a run whose files have suffered from that does not finish (`workers.audit.run`).
"""

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any, NamedTuple, Self
from uuid import uuid4

from pyarrow import fs
from pydantic import BaseModel, ValidationError

from schemas.errors import ConfigurationError, ModerationError
from workers.audit.run_folder import DRIVER
from workers.files.locations import filesystem_of, reason_of
from workers.telemetry.log import log_event

log = logging.getLogger(__name__)
RENEW_S = 10.0
LEASE_S = 60.0
_HELD = (errno.EWOULDBLOCK, errno.EACCES)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_MOST_BYTES = 4_096
StillOurs = Callable[[], None]


class _Driver(BaseModel):
    host: str
    pid: int
    since: str
    token: str
    renewals: int = 0

    @classmethod
    def here(cls) -> Self:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(host=socket.gethostname(), pid=os.getpid(), since=since, token=uuid4().hex)


class DriverSeen(NamedTuple):
    """Who drives a run, or did so last and was killed.

    `lives` is False once its lock is gone, and None where there are no locks and one look cannot tell.
    """

    host: str
    pid: int
    since: str
    lives: bool | None


def driver_of(run: str) -> DriverSeen | None:
    """Who claims to drive a run; None where nobody does: it is finished, or was stopped in order.

    Raises:
        ConfigurationError: there is no such file system.
        ModerationError: nothing can be read there.
    """
    files, root = filesystem_of(run)
    lives = None
    try:
        with files.open_input_stream(f"{root}/{DRIVER}") as stream:
            said = bytes(stream.read(_MOST_BYTES))
        if isinstance(files, fs.LocalFileSystem):
            with Path(root, DRIVER).open("rb") as file:
                lives = _is_locked(file.fileno())
        driver = _Driver.model_validate_json(said)
    except (FileNotFoundError, ValidationError):  # the one has left, or the other has not said yet who it is
        return None
    except OSError as error:
        raise ModerationError(f"{run}: cannot be read: {reason_of(error)}") from None
    return DriverSeen(driver.host, driver.pid, driver.since, lives)


def _is_locked(descriptor: int) -> bool | None:
    """Whether a driver has the lock on a file; None: no locks. Holds a shared one for a moment."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return True
        if error.errno in _NO_LOCKS:
            return None
        raise
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


@contextmanager
def driving(run: str, *, renew_s: float | None = None, lease_s: float = LEASE_S) -> Iterator[StillOurs]:
    """Be the one driver of a run; yields a check that raises a ModerationError once another has taken it over.

    Args:
        run: its folder, which is made if it is not there, and removed again if nothing was put into it.
        renew_s: of a lease: seconds between renewals; None: `RENEW_S`.
        lease_s: of a lease: seconds without one, after which its driver counts as dead.

    Raises:
        ModerationError: another one drives it; says which.
        ConfigurationError: there is no such file system, or nothing can be written there.
    """
    files, root = filesystem_of(run)
    try:
        made = files.get_file_info(root).type == fs.FileType.NotFound
    except OSError as error:
        raise ConfigurationError(f"{run}: cannot be read: {reason_of(error)}") from None
    is_local = isinstance(files, fs.LocalFileSystem)
    descriptor = _locked(run, Path(root)) if is_local else None
    try:
        if descriptor is None:
            with _Lease(run, files, f"{root}/{DRIVER}", RENEW_S if renew_s is None else renew_s, lease_s) as lease:
                yield lease.check
        else:
            yield lambda: None
    finally:
        if descriptor is not None:
            # While it is locked: who waits for a file of that name that is no longer there looks again.
            Path(root, DRIVER).unlink(missing_ok=True)
            os.close(descriptor)
        if made and is_local:
            with suppress(OSError):
                Path(root).rmdir()


def _locked(run: str, root: Path) -> int | None:
    """A descriptor of the run's file with the lock on it, for this process and none of its children; None: no locks."""
    path = root / DRIVER
    while True:
        try:
            descriptor, is_new = _opened(run, path)
        except FileNotFoundError:  # its driver has just removed an empty folder
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, _Driver.here().model_dump_json().encode(), 0)
                return descriptor
        except FileNotFoundError:  # its driver has just removed it
            pass
        except OSError as error:
            # Shared, it can be had while all others only look: those of `driver_of`, which are gone in a moment.
            looked_at = error.errno in _HELD and not _is_locked(descriptor)
            said = os.pread(descriptor, _MOST_BYTES, 0)
            os.close(descriptor)
            if looked_at:
                continue
            if error.errno in _HELD:
                raise ModerationError(_taken(run, said)) from None
            if error.errno in _NO_LOCKS:
                if is_new and not said:  # it would be taken for that of a driver who has not said yet who it is
                    path.unlink(missing_ok=True)
                return None
            raise ConfigurationError(f"{run}: cannot be locked: {error.strerror}") from None
        os.close(descriptor)


def _opened(run: str, path: Path) -> tuple[int, bool]:
    """A descriptor of the run's file, and whether there was none before. Raises FileNotFoundError as well."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644), is_new
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ConfigurationError(f"{run}: {DRIVER} is a link, which is not followed") from None
        raise ConfigurationError(f"{run}: cannot be written: {error.strerror}") from None


def _taken(run: str, said: bytes | None) -> str:
    try:
        driver = _Driver.model_validate_json(said or b"")
    except ValidationError:  # it has not said yet who it is
        return f"{run}: another audit run writes to it"
    return f"{run}: another audit run writes to it: process {driver.pid} on {driver.host}, since {driver.since}"


class _Lease:
    """A file that says who drives, and is renewed. Use as a context manager.

    Args:
        run: named in errors.
        files: the file system.
        path: of the file in it.
        renew_s: seconds between renewals.
        lease_s: seconds without one, after which its driver counts as dead.
    """

    def __init__(self, run: str, files: Any, path: str, renew_s: float, lease_s: float) -> None:
        self._run, self._files, self._path = run, files, path
        self._renew_s, self._lease_s = renew_s, lease_s
        self._driver = _Driver.here()
        self._ended = Event()
        self._lost = ""
        self._thread = Thread(target=self._renew, name="weir-lease", daemon=True)

    def __enter__(self) -> Self:
        try:
            self._outwait()
            self._write()
        except OSError as error:
            raise ConfigurationError(f"{self._run}: cannot be written: {reason_of(error)}") from None
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        with suppress(OSError):
            if self._is_mine(self._read()):  # and not that of one who took the run over a moment ago
                self._files.delete_file(self._path)

    def check(self) -> None:
        """Raise a ModerationError if the run is another's now."""
        if self._lost:
            raise ModerationError(self._lost)

    def _outwait(self) -> None:
        """Return once nobody drives; clocks of two machines are not compared, only whether the file changes."""
        first = self._read()
        if first is None:
            return
        log.warning(log_event("audit_driver_waited_for", driver=_taken(self._run, first), wait_s=self._lease_s))
        until = monotonic() + self._lease_s
        while monotonic() < until:
            self._ended.wait(self._renew_s / 2)
            now = self._read()
            if now is None:
                return
            if now != first:
                raise ModerationError(_taken(self._run, now))

    def _renew(self) -> None:
        renewed = monotonic()
        while not self._ended.wait(self._renew_s):
            if monotonic() - renewed > self._lease_s:  # this process stood still, or the store was out of reach
                self._lost = f"{self._run}: was not renewed for {self._lease_s:g} s, and may be another's by now"
                return
            with suppress(OSError):
                said = self._read()
                if said is not None and not self._is_mine(said):
                    self._lost = _taken(self._run, said)
                    return
                self._driver.renewals += 1
                self._write()
                renewed = monotonic()

    def _is_mine(self, said: bytes | None) -> bool:
        return said is not None and self._driver.token.encode() in said

    def _read(self) -> bytes | None:
        try:
            with self._files.open_input_stream(self._path) as stream:
                return bytes(stream.read(_MOST_BYTES))
        except FileNotFoundError:
            return None

    def _write(self) -> None:
        said = self._driver.model_dump_json().encode()
        self._files.create_dir(self._path.rpartition("/")[0], recursive=True)
        if isinstance(self._files, fs.LocalFileSystem):
            # In place and always as long, so that nobody reads it empty or half; an object store has it as a whole.
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            try:
                os.pwrite(descriptor, said.ljust(_MOST_BYTES), 0)
            finally:
                os.close(descriptor)
            return
        with self._files.open_output_stream(self._path) as stream:
            stream.write(said)
