"""The HTTP server, on the event loop that it is started on: listens, cuts off the slow, and drains before it stops."""

import asyncio
import logging
import socket
from collections.abc import Iterable
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from schemas.errors import ConfigurationError
from workers.ask.exchange import BODY_S, MAX_BODY

MOST_CONNECTIONS = 1_024
KEEP_ALIVE_S = 75  # longer than clients keep theirs, so that none uses a connection that is being closed
MAX_HEADERS = 64 << 10
POLL_S = 0.02
HEAD_S = 10.0  # a head that takes longer is cut off, as a body is
READING_S = 30.0  # for an answer to be read
LOOK_S = 1.0
# What uvicorn says at the level of errors where it is none: of a connection that was refused, or that sent no UTF-8.
_NO_ERRORS = ("ASGI callable returned without completing handshake.", "Invalid UTF-8 sequence received from client.")


def listening(host: str, port: int) -> socket.socket:
    """A socket on an address of this machine.

    Raises:
        ConfigurationError: it cannot be had; names host and port.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise ConfigurationError(f"ask.host={host}, ask.port={port}: {error.strerror or error}") from None
    return listener


_Stage = tuple[Any, bool]


class AskServer:
    """Serves an application.

    Args:
        app: the application.
        drain_s: longest wait for what is under way when it stops.
        answer_s: longest time that an answer takes, from the whole body on.
        sockets: take WebSocket connections, too.
    """

    def __init__(self, app: Starlette, drain_s: float, answer_s: float, *, sockets: bool = False) -> None:
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        logging.getLogger("uvicorn.error").addFilter(_is_error)
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http="h11",  # it alone bounds headers
                ws="websockets-sansio" if sockets else "none",  # stops reading where nobody takes messages
                ws_max_size=MAX_BODY,
                ws_per_message_deflate=False,  # a small message may become a large one
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=max(1, int(drain_s)),
                limit_concurrency=MOST_CONNECTIONS,
                h11_max_incomplete_event_size=MAX_HEADERS,
            )
        )
        self._exchange_s = BODY_S + answer_s + READING_S
        self._serving: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    async def start(self, listener: socket.socket) -> None:
        """Take requests from a socket, which is its own from now on."""
        # `serve` would take over the signals of a process's main thread.
        self._serving = asyncio.create_task(self._server._serve([listener]))  # noqa: SLF001
        while not self._server.started and not self._serving.done():
            await asyncio.sleep(POLL_S)
        self._looking = asyncio.create_task(self._cut_off())

    @property
    def has_failed(self) -> bool:
        """It has ended by itself."""
        return self._serving is not None and self._serving.done() and not self._server.should_exit

    async def stop(self) -> None:
        """Close the socket, answer what is under way, and end."""
        self._server.should_exit = True
        if self._serving is not None:
            await asyncio.gather(self._serving, return_exceptions=True)
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _cut_off(self) -> None:
        """Uvicorn waits for ever for a head, and for whoever does not read: all places could be taken by them."""
        loop = asyncio.get_running_loop()
        known: dict[H11Protocol, tuple[_Stage, float]] = {}
        while True:
            now = loop.time()
            seen = dict(_stages(self._server.server_state.connections))
            known = {
                one: known[one] if one in known and known[one][0] == stage else (stage, now)
                for one, stage in seen.items()
            }
            for one, ((_, is_head), since) in known.items():
                if now - since > (HEAD_S if is_head else self._exchange_s):
                    one.transport.abort()
            await asyncio.sleep(LOOK_S)


def _stages(connections: Iterable[Any]) -> Iterable[tuple[H11Protocol, _Stage]]:
    """Those that are waited for, with their latest exchange, and whether the head of one is; idle ones are not."""
    for one in connections:
        if isinstance(one, H11Protocol):  # the others are WebSockets
            last = one.cycle
            if last is not None and (not last.response_complete or one.transport.get_write_buffer_size()):
                yield one, (last, False)
            elif last is None or one.conn.trailing_data[0]:
                yield one, (last, True)


def _is_error(record: logging.LogRecord) -> bool:
    return record.msg not in _NO_ERRORS
