"""HTTP to one server: sends JSON, reads JSON within bounds, and sorts whatever goes wrong by whose fault it is.

Knows nothing of prompts or of what an answer should hold. Keeps no text of an answer that failed: it may quote a
message (P10). Follows no redirect, which would carry the key elsewhere.
"""

import json
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import uuid4

import aiohttp

from schemas.errors import ConfigurationError, Fault, RemoteCallError

# 1,024 answers of 128 tokens with 13 log-probabilities each are some 40 MB.
MAX_BYTES = 64 * 2**20
LONGEST_WAIT_S = 300.0
_READ_BYTES = 2**16
_FAULTS: dict[int, Fault] = {400: "rejected", 413: "rejected", 500: "failed"}
# W3C trace context of what the current task asks for: the server's spans become children of the batch's.
TRACE: ContextVar[Mapping[str, str]] = ContextVar("weir_remote_trace", default=MappingProxyType({}))
_BUSY = (408, 425, 429, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Waits:
    """Times in seconds.

    Attributes:
        connect_s, health_s: for a connection, and for the answer to anything but prompts.
        health_interval_s: between two health checks of a server that has calls under way.
        backoff_initial_s, backoff_max_s: between two tries of one that is lost.
        clean_s: without trouble, before a server may have one call more.
        first_busy_s: for which one is left alone that takes nothing on and does not say for how long, or is asked last.
    """

    connect_s: float = 5.0
    health_s: float = 5.0
    health_interval_s: float = 2.0
    backoff_initial_s: float = 0.5
    backoff_max_s: float = 15.0
    clean_s: float = 1.0
    first_busy_s: float = 1.0


class Answer(NamedTuple):
    """A body, parsed, and its headers."""

    body: Any
    headers: Mapping[str, str]


class Connection:
    """Made and used on one event loop.

    Args:
        url: address of the server, without a path of its own at the end.
        key_file: file with the key; None sends none.
        ca_file: PEM file of the certificate authority; None: those of the system.
        waits: how long it waits for what.

    Raises:
        ConfigurationError: the authority's file cannot be read.
    """

    def __init__(self, url: str, key_file: Path | None, ca_file: Path | None, waits: Waits) -> None:
        self._url = url
        self._key_file = key_file
        self._waits = waits
        self._headers = {"Accept-Encoding": "identity", "endpoint-load-metrics-format": "json"}
        try:
            trust = ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            raise ConfigurationError(f"guard.remote.ca_file={ca_file}: {error.strerror or 'no PEM file'}") from None
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=trust),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    def read_key(self) -> None:
        """Take the key from its file; it may be another by now.

        Raises:
            RemoteCallError: mismatched; there is none.
        """
        if self._key_file is None:
            return
        try:
            key = self._key_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise RemoteCallError("mismatched", f"guard.remote.api_key_file: {type(error).__name__}") from None
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise RemoteCallError("mismatched", "guard.remote.api_key_file: no key in it")
        self._headers["Authorization"] = f"Bearer {key}"

    async def post(self, path: str, body: Any, timeout_s: float) -> Answer:
        """Post JSON.

        Raises:
            RemoteCallError: there is no answer to use.
        """
        data = json.dumps(body, separators=(",", ":")).encode()
        return await self._ask("POST", path, timeout_s, data)

    async def get(self, path: str, timeout_s: float | None = None) -> Any:
        """What is there, parsed.

        Raises:
            RemoteCallError: there is no answer to use.
        """
        return (await self._ask("GET", path, timeout_s or self._waits.health_s)).body

    async def status_of(self, path: str) -> int | None:
        """The status that a path answers with; None where nothing listens. One that is slow to answer counts as 200."""
        try:
            async with self._session.get(
                self._url + path,
                headers=self._headers,
                timeout=self._timeout(self._waits.health_s),
                allow_redirects=False,
            ) as response:
                return response.status
        except TimeoutError:
            return 200
        except aiohttp.ClientError:
            return None

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def _ask(self, method: str, path: str, timeout_s: float, data: bytes | None = None) -> Answer:
        headers = {**self._headers, **TRACE.get(), "X-Request-Id": uuid4().hex}
        if data is not None:
            headers["Content-Type"] = "application/json"
        try:
            async with self._session.request(
                method,
                self._url + path,
                data=data,
                headers=headers,
                timeout=self._timeout(timeout_s),
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    failed = _failed(response.status, response.headers)
                else:
                    body = await _bounded(response)
                    failed = None
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            failed = _lost(error)
        if failed is not None:  # not while that is handled: its text and its chain may hold what was sent
            raise failed
        try:
            return Answer(json.loads(body), response.headers)
        except (ValueError, RecursionError):
            failed = RemoteCallError("mismatched", "an answer that is no JSON")
        raise failed

    def _timeout(self, total_s: float) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(total=total_s, sock_connect=self._waits.connect_s)


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_chunked(_READ_BYTES):
        size += len(part)
        if size > MAX_BYTES:
            raise RemoteCallError("mismatched", f"an answer of more than {MAX_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)


def _failed(status: int, headers: Mapping[str, str]) -> RemoteCallError:
    fault: Fault = "busy" if status in _BUSY else _FAULTS.get(status, "mismatched")
    return RemoteCallError(fault, f"status {status}", retry_after_s(headers.get("Retry-After")))


def _lost(error: Exception) -> RemoteCallError:
    if isinstance(
        error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError | aiohttp.InvalidURL
    ):
        return RemoteCallError("mismatched", type(error).__name__)
    return RemoteCallError("gone", type(error).__name__)


def retry_after_s(text: str | None) -> float | None:
    """The seconds that a `Retry-After` asks for, in either of its forms; at most `LONGEST_WAIT_S`."""
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 0.0), LONGEST_WAIT_S) if seconds == seconds else None
