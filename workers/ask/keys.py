"""Who may ask: bearer keys as digests in a YAML file, with tenant, routes and limits of each.

    keys:
      - sha256: 9f86d081884c7d65…    # printf %s "$KEY" | sha256sum
        tenant: games                # whose policy applies; left out: what each item says
        routes: [/v1/moderations]    # left out: all
        requests_per_minute: 600     # left out: no limit
        tokens_per_minute: 200000

The file is looked at again every second; one that is wrong then leaves the keys as they were.
"""

import hashlib
import hmac
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines import strict_yaml
from schemas.errors import AskRefusedError, ConfigurationError
from schemas.event import Identifier
from workers.ask.rates import Rates
from workers.telemetry.log import log_event

log = logging.getLogger(__name__)
LOOK_AGAIN_S = 1.0
MAX_TOKEN = 512
_BEARER = "bearer "
_PerMinute = Annotated[int, Field(ge=1, le=10**9)]


class KeyEntry(BaseModel):
    """One key of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    tenant: Identifier | None = None
    routes: tuple[str, ...] | None = None
    requests_per_minute: _PerMinute | None = None
    tokens_per_minute: _PerMinute | None = None


class KeysFile(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: Annotated[tuple[KeyEntry, ...], Field(min_length=1)]


class Caller:
    """Whoever asks, as its key says.

    Args:
        entry: of the file; None for anybody on this machine.
        clock: seconds, monotonic.

    Attributes:
        tenant: whose policy applies; None where the items say.
        rates: what it has left.
    """

    def __init__(self, entry: KeyEntry | None, clock: Callable[[], float]) -> None:
        self.entry = entry
        self.tenant = entry.tenant if entry else None
        self.rates = Rates(*((entry.requests_per_minute, entry.tokens_per_minute) if entry else (None, None)), clock)

    def enter(self, route: str) -> None:
        """Come in by a route.

        Raises:
            AskRefusedError: it is not for this caller.
        """
        if self.entry is not None and self.entry.routes is not None and route not in self.entry.routes:
            raise AskRefusedError("forbidden", "this key is not for this route")


class KeyRing:
    """Finds the caller of a request.

    Args:
        path: the file; None lets everybody in.
        clock: seconds, monotonic.

    Raises:
        ConfigurationError: the file is wrong; names it and the field, and repeats no digest.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._anybody = Caller(None, clock)
        self._callers: list[tuple[str, Caller]] = []
        self._looked = clock()
        self._stamp: tuple[int, int, int] | None = None
        if path is not None:
            self._stamp = _stamp(path)
            self._take(read_keys(path))

    def caller(self, authorization: str | None) -> Caller:
        """Whoever sends this header.

        Raises:
            AskRefusedError: nobody known; does not say what is wrong.
        """
        if self._path is None:
            return self._anybody
        self._look_again(self._path)
        given = authorization or ""
        token = given[len(_BEARER) :].strip() if given[: len(_BEARER)].lower() == _BEARER else ""
        digest = hashlib.sha256(token[:MAX_TOKEN].encode("utf-8", "replace")).hexdigest()
        found = None
        for known, caller in self._callers:  # all of them, so that the time taken tells nothing
            if hmac.compare_digest(known, digest):
                found = caller
        if found is None or not token or len(token) > MAX_TOKEN:
            raise AskRefusedError("unauthorized", "a known key is needed: Authorization: Bearer …")
        return found

    def _look_again(self, path: Path) -> None:
        now = self._clock()
        if now - self._looked < LOOK_AGAIN_S:
            return
        self._looked = now
        try:
            if (stamp := _stamp(path)) != self._stamp:
                self._stamp = stamp
                self._take(read_keys(path))
        except ConfigurationError as error:
            log.error(log_event("ask_keys_not_read", error=str(error)))

    def _take(self, file: KeysFile) -> None:
        before = {caller.entry: caller for _, caller in self._callers}  # they keep what they have spent
        self._callers = [(entry.sha256, before.get(entry) or Caller(entry, self._clock)) for entry in file.keys]


def read_keys(path: Path) -> KeysFile:
    """Read and check a file.

    Raises:
        ConfigurationError: naming the file and the field that is wrong.
    """
    try:
        loaded = strict_yaml.loaded(path.read_bytes())
        file = KeysFile.model_validate(loaded)
    except OSError as error:
        fault = f"cannot be read: {error.strerror}"
    except yaml.YAMLError as error:
        fault = f"not YAML: {' '.join(str(error).split())}"
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        fault = "; ".join(f"{'.'.join(map(str, item['loc'])) or 'file'}: {item['msg']}" for item in faults)
    else:
        if len({entry.sha256 for entry in file.keys}) == len(file.keys):
            return file
        fault = "keys: one is given twice"
    raise ConfigurationError(f"ask.keys_file={path}: {fault}")


def _stamp(path: Path) -> tuple[int, int, int]:
    """Changes with the file, also where a mounted secret is replaced."""
    try:
        status = path.stat()
    except OSError as error:
        raise ConfigurationError(f"ask.keys_file={path}: cannot be read: {error.strerror}") from None
    return status.st_mtime_ns, status.st_ino, status.st_size
