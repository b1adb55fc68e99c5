"""The file of a lease, in each kind of store: made only where there is none, replaced only where it is as it was seen.

Object stores do both by themselves (conditional writes). A disk makes a folder for one caller only, which guards the
file for the moment of a write. pyarrow's other file systems (HDFS) have nothing of the kind: there a file is read and
then written, and two callers in the same moment may both believe that they have it.
"""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import parse_qs

from pyarrow import fs

from workers.telemetry.log import log_event

if TYPE_CHECKING:
    from obstore import PutMode
    from obstore.store import ObjectStore

log = logging.getLogger(__name__)
MOST_BYTES = 4_096
GUARD_LOOKS, GUARD_LOOK_S = 50, 0.02
_ENDED = b"{}"
_OBJECT_STORES = ("s3", "gs", "gcs", "abfs", "abfss")
_REQUEST_S = 5


class Seen(NamedTuple):
    """What the file holds, and what tells this state of it from all others: for `LeaseFile.write`."""

    said: bytes
    version: Any


class LeaseFile(Protocol):
    """One file. All methods raise OSError where the store fails.

    Attributes:
        is_exclusive: whether of several writers at most one succeeds.
    """

    is_exclusive: bool

    def read(self) -> Seen | None:
        """What it holds; None: it is not there, or its driver has left."""

    def write(self, said: bytes, after: Seen | None) -> Seen | None:
        """Write it if it still is as it was seen (None: not there); None: another one came first."""

    def leave(self, after: Seen) -> None:
        """Let the next one have it, if it still is as it was seen."""


def lease_file(uri: str, files: Any, path: str) -> LeaseFile:
    """The file of a run's lease, exclusive where the store allows it; otherwise the log says why it is not.

    Args:
        uri: of the run, with its options.
        files: pyarrow's file system of it.
        path: of the file in it.

    Raises:
        OSError: the store fails.
    """
    if isinstance(files, fs.LocalFileSystem):
        return LocalFile(Path(path))
    try:
        store, key = _object_store(uri, files, path)
        made: LeaseFile = StoredFile(store, key)
        made.read()
    except LookupError as error:
        why = str(error)
    except Exception as error:  # noqa: BLE001 - obstore's errors have no base of their own with the builtin ones
        why = f"{type(error).__name__} of obstore"  # whose text may quote credentials
    else:
        return made
    log.warning(log_event("audit_lease_not_exclusive", why=why))
    return AnyFile(files, path)


def _object_store(uri: str, files: Any, path: str) -> "tuple[ObjectStore, str]":
    """Obstore's store of a URI, and the file's key in it; the environment has the credentials, as for pyarrow.

    Raises:
        LookupError: it has none for such a URI.
    """
    scheme, _, rest = uri.partition("://")
    options = {name: values[-1] for name, values in parse_qs(rest.partition("?")[2]).items()}
    bucket, _, key = path.partition("/")
    if scheme not in _OBJECT_STORES or (scheme.startswith("abfs") and options):
        raise LookupError("no conditional writes for this file system" + (" with options" if options else ""))
    from obstore.store import AzureStore, GCSStore, S3Store

    limits: dict[str, Any] = {
        "client_options": {"timeout": timedelta(seconds=_REQUEST_S), "connect_timeout": timedelta(seconds=_REQUEST_S)},
        "retry_config": {"max_retries": 2, "retry_timeout": timedelta(seconds=2 * _REQUEST_S)},
    }
    if scheme.startswith("abfs"):
        return AzureStore.from_url(f"{scheme}://{rest.partition('/')[0]}", **limits), key
    endpoint = options.get("endpoint_override")
    if endpoint is not None:
        endpoint = endpoint if "://" in endpoint else f"{options.get('scheme', 'https')}://{endpoint}"
    limits["client_options"]["allow_http"] = True  # as pyarrow: an endpoint says which it is
    if scheme == "s3":
        given: dict[str, Any] = {} if endpoint is None else {"endpoint": endpoint}
        return S3Store(bucket, region=files.region, **given, **limits), key
    if rest.startswith("anonymous@"):
        # Not `skip_signature`, with which only reads need no token.
        account = dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
        host = {"gcs_base_url": endpoint or "https://storage.googleapis.com", "disable_oauth": True}
        given = {"service_account_key": json.dumps({**account, **host})}
    else:
        given = {} if endpoint is None else {"base_url": endpoint}
    return GCSStore(bucket, **given, **limits), key


class StoredFile:
    """An object that is made and replaced by conditional writes.

    Args:
        store: of obstore.
        key: of the object in it.
    """

    is_exclusive = True

    def __init__(self, store: "ObjectStore", key: str) -> None:
        self._store, self._key = store, key

    def read(self) -> Seen | None:
        seen = self._seen()
        return None if seen is None or seen.said == _ENDED else seen

    def write(self, said: bytes, after: Seen | None) -> Seen | None:
        if after is None:
            left = self._seen()  # the note of one who has left is replaced, too
            if left is not None and left.said != _ENDED:
                return None
            made = self._put(said, "create" if left is None else left.version)
            return made if made is None else self._tried(said, made)
        return self._put(said, after.version)

    def leave(self, after: Seen) -> None:
        # Not deleted: a store deletes whatever is there, another's file as well.
        self._put(_ENDED, after.version)

    def _tried(self, said: bytes, made: Seen) -> Seen | None:
        """The file once its store was seen to refuse what it must; some that speak S3 take no notice of conditions."""
        other = said + b" "
        ignored = self._put(other, "create")
        now = self._put(other, (ignored or made).version)
        if ignored is not None or (now is not None and self._put(said, made.version) is not None):
            self.is_exclusive = False
            log.warning(log_event("audit_lease_not_exclusive", why="the store takes no notice of conditions"))
            return self._seen()
        return now

    def _seen(self) -> Seen | None:
        import obstore

        with _as_os_errors():
            try:
                got = obstore.get(self._store, self._key)
                return Seen(bytes(got.bytes()), _version(got.meta))
            except FileNotFoundError:
                return None

    def _put(self, said: bytes, mode: "PutMode") -> Seen | None:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with _as_os_errors():
            try:
                return Seen(said, _version(obstore.put(self._store, self._key, said, mode=mode)))
            except (AlreadyExistsError, PreconditionError, FileNotFoundError):
                pass
            # A first try may have been done and only its answer lost: then the refusal is of our own second one.
            seen = self._seen()
            return seen if seen is not None and seen.said == said else None


def _version(meta: Any) -> dict[str, str]:
    return {name: meta[name] for name in ("e_tag", "version") if meta[name] is not None}


@contextmanager
def _as_os_errors() -> Iterator[None]:
    from obstore.exceptions import BaseError

    try:
        yield
    except BaseError as error:
        raise OSError(f"the object store's client says {type(error).__name__}") from None


class LocalFile:
    """A file on a mount without locks; a folder beside it guards each write, because only one caller can make it.

    Args:
        path: of the file; its folder is made.
    """

    is_exclusive = True

    def __init__(self, path: Path) -> None:
        self._path, self._guard = path, path.with_name(f"{path.name}.guard")

    def read(self) -> Seen | None:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        try:
            said = os.pread(descriptor, MOST_BYTES, 0)
        finally:
            os.close(descriptor)
        return Seen(said, None)

    def write(self, said: bytes, after: Seen | None) -> Seen | None:
        with self._guarded():
            if self.read() != after:
                return None
            new = self._path.with_name(f"{self._path.name}.new")
            new.unlink(missing_ok=True)  # of one who was killed; a link is not followed
            with new.open("xb") as stream:
                stream.write(said)
            new.replace(self._path)
            return Seen(said, None)

    def leave(self, after: Seen) -> None:
        with self._guarded():
            if self.read() == after:
                self._path.unlink()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        for _ in range(GUARD_LOOKS):
            # FileNotFoundError: the folder of a run with nothing in it was just removed.
            with suppress(FileExistsError, FileNotFoundError):
                self._guard.parent.mkdir(parents=True, exist_ok=True)
                self._guard.mkdir()
                break
            sleep(GUARD_LOOK_S)
        else:
            raise OSError(f"{self._guard.name} stays there: one that wrote was killed; remove it if no run is alive")
        try:
            yield
        finally:
            self._guard.rmdir()


class AnyFile:
    """A file of any of pyarrow's file systems: read, then written, and so not exclusive.

    Args:
        files: the file system.
        path: of the file in it.
    """

    is_exclusive = False

    def __init__(self, files: Any, path: str) -> None:
        self._files, self._path = files, path

    def read(self) -> Seen | None:
        try:
            with self._files.open_input_stream(self._path) as stream:
                said = bytes(stream.read(MOST_BYTES))
        except FileNotFoundError:
            return None
        return None if said == _ENDED else Seen(said, None)

    def write(self, said: bytes, after: Seen | None) -> Seen | None:
        if self.read() != after:
            return None
        self._files.create_dir(self._path.rpartition("/")[0], recursive=True)
        with self._files.open_output_stream(self._path) as stream:
            stream.write(said)
        return Seen(said, None)

    def leave(self, after: Seen) -> None:
        with suppress(FileNotFoundError):
            if self.read() == after:
                self._files.delete_file(self._path)
