"""Lets one driver at a time work on a run where there are no locks: a file says who drives, and is renewed.

One that has not been renewed for `LEASE_S` is a dead driver's. Clocks of two machines are not compared: who waits looks
whether the file changes.
"""

import logging
import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from threading import Event, Thread
from time import monotonic
from typing import Self
from uuid import uuid4

from pydantic import BaseModel, ValidationError

from schemas.errors import ConfigurationError, ModerationError
from workers.audit.lease_file import LeaseFile, Seen
from workers.files.locations import reason_of
from workers.telemetry.log import log_event

log = logging.getLogger(__name__)
RENEW_S = 10.0
LEASE_S = 60.0


class Driver(BaseModel):
    """Who drives a run, as its file says it."""

    host: str
    pid: int
    since: str
    token: str
    renewals: int = 0

    @classmethod
    def here(cls) -> Self:
        """This process, as of now."""
        since = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(host=socket.gethostname(), pid=os.getpid(), since=since, token=uuid4().hex)


def taken(run: str, said: bytes | None) -> str:
    """The error's text for a run that another one drives, by what its file says."""
    try:
        driver = Driver.model_validate_json(said or b"")
    except ValidationError:  # it has not said yet who it is
        return f"{run}: another audit run writes to it"
    return f"{run}: another audit run writes to it: process {driver.pid} on {driver.host}, since {driver.since}"


class Lease:
    """A lease on a run. Use as a context manager, which waits until nobody else has it, at most `lease_s`.

    Args:
        run: named in errors.
        file: of the lease.
        renew_s: seconds between renewals.
        lease_s: seconds without one, after which its driver counts as dead.

    Raises:
        ModerationError: on entering it: another one drives; says which.
        ConfigurationError: on entering it: nothing can be written there.
    """

    def __init__(self, run: str, file: LeaseFile, renew_s: float, lease_s: float) -> None:
        self._run, self._file = run, file
        self._renew_s, self._lease_s = renew_s, lease_s
        self._driver = Driver.here()
        self._held: Seen | None = None
        self._ended = Event()
        self._lost = ""
        self._thread = Thread(target=self._renew, name="weir-lease", daemon=True)

    def __enter__(self) -> Self:
        try:
            before = self._outwait()
            if not self._write(before):
                now = self._file.read()
                raise ModerationError(taken(self._run, now and now.said))
        except OSError as error:
            raise ConfigurationError(f"{self._run}: cannot be written: {reason_of(error)}") from None
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if self._held is not None and not self._lost:
            with suppress(OSError):
                self._file.leave(self._held)

    def check(self) -> None:
        """Raise a ModerationError if the run is another's now."""
        if self._lost:
            raise ModerationError(self._lost)

    def _outwait(self) -> Seen | None:
        """The file as a dead driver has left it, or None if there is none."""
        first = self._file.read()
        if first is None:
            return None
        log.warning(log_event("audit_driver_waited_for", driver=taken(self._run, first.said), wait_s=self._lease_s))
        until = monotonic() + self._lease_s
        while monotonic() < until:
            self._ended.wait(self._renew_s / 2)
            now = self._file.read()
            if now != first:
                if now is None:
                    return None
                raise ModerationError(taken(self._run, now.said))
        return first

    def _renew(self) -> None:
        renewed = monotonic()
        while not self._ended.wait(self._renew_s):
            if monotonic() - renewed > self._lease_s:  # this process stood still, or the store was out of reach
                self._lost = f"{self._run}: was not renewed for {self._lease_s:g} s, and may be another's by now"
                return
            with suppress(OSError):
                self._driver.renewals += 1
                if self._write(self._held):
                    renewed = monotonic()
                    continue
                now = self._file.read()
                if now is None or not self._is_mine(now):
                    self._lost = taken(self._run, now and now.said)
                    return
                self._held = now  # a write that seemed to fail had been done; the next one is made after it

    def _write(self, after: Seen | None) -> bool:
        made = self._file.write(self._driver.model_dump_json().encode(), after)
        if made is None or not self._is_mine(made):
            return False
        self._held = made
        return True

    def _is_mine(self, seen: Seen) -> bool:
        return self._driver.token.encode() in seen.said
