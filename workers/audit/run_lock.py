"""Lets one driver at a time work on a run, by the kernel's lock on a file, or by a lease where there are no locks.

With flock, as local disks and NFS have it, exclusion is exact, and a lock ends with its process. Object stores and
mounts without locks have a lease (`workers.audit.lease`). A run whose files have suffered from a second driver does
not finish (`workers.audit.run`).
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

from pyarrow import fs
from pydantic import ValidationError

from schemas.errors import ConfigurationError, ModerationError
from workers.audit.lease import LEASE_S, RENEW_S, Driver, Lease, taken
from workers.audit.lease_file import MOST_BYTES, lease_file
from workers.audit.run_folder import DRIVER
from workers.files.locations import filesystem_of, reason_of

_HELD = (errno.EWOULDBLOCK, errno.EACCES)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
StillOurs = Callable[[], None]


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
            said = bytes(stream.read(MOST_BYTES))
        if isinstance(files, fs.LocalFileSystem):
            with Path(root, DRIVER).open("rb") as file:
                lives = _is_locked(file.fileno())
        driver = Driver.model_validate_json(said)
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
    descriptor = _locked(run, Path(root)) if is_local and _has_locks(run, Path(root)) else None
    try:
        if descriptor is None:
            file = lease_file(run, files, f"{root}/{DRIVER}")
            with Lease(run, file, RENEW_S if renew_s is None else renew_s, lease_s) as lease:
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


def _has_locks(run: str, root: Path) -> bool:
    """Whether files in a run's folder, which is made, can be locked; by one without a name, which nobody else sees."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=root) as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise ConfigurationError(f"{run}: cannot be written: {error.strerror}") from None
    return True


def _locked(run: str, root: Path) -> int:
    """A descriptor of the run's file with the lock on it, for this process and none of its children."""
    path = root / DRIVER
    while True:
        try:
            descriptor = _opened(run, path)
        except FileNotFoundError:  # its driver has just removed an empty folder
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, Driver.here().model_dump_json().encode(), 0)
                return descriptor
        except FileNotFoundError:  # its driver has just removed it
            pass
        except OSError as error:
            # Shared, it can be had while all others only look: those of `driver_of`, which are gone in a moment.
            looked_at = error.errno in _HELD and not _is_locked(descriptor)
            said = os.pread(descriptor, MOST_BYTES, 0)
            os.close(descriptor)
            if looked_at:
                continue
            if error.errno in _HELD:
                raise ModerationError(taken(run, said)) from None
            raise ConfigurationError(f"{run}: cannot be locked: {error.strerror}") from None
        os.close(descriptor)


def _opened(run: str, path: Path) -> int:
    """A descriptor of the run's file. Raises FileNotFoundError as well."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ConfigurationError(f"{run}: {DRIVER} is a link, which is not followed") from None
        raise ConfigurationError(f"{run}: cannot be written: {error.strerror}") from None
