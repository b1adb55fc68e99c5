"""The HTTP server, on the event loop that it is started on: listens, and drains before it stops."""

import asyncio
import logging
import socket

import uvicorn
from starlette.applications import Starlette

from schemas.errors import ConfigurationError
from workers.ask.exchange import MAX_BODY

MOST_CONNECTIONS = 1_024
KEEP_ALIVE_S = 75  # longer than clients keep theirs, so that none uses a connection that is being closed
MAX_HEADERS = 64 << 10
POLL_S = 0.02
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


class AskServer:
    """Serves an application.

    Args:
        app: the application.
        drain_s: longest wait for what is under way when it stops.
        sockets: take WebSocket connections, too.
    """

    def __init__(self, app: Starlette, drain_s: float, *, sockets: bool = False) -> None:
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
        self._serving: asyncio.Task[None] | None = None

    async def start(self, listener: socket.socket) -> None:
        """Take requests from a socket, which is its own from now on."""
        # `serve` would take over the signals of a process's main thread.
        self._serving = asyncio.create_task(self._server._serve([listener]))  # noqa: SLF001
        while not self._server.started and not self._serving.done():
            await asyncio.sleep(POLL_S)

    @property
    def has_failed(self) -> bool:
        """It has ended by itself."""
        return self._serving is not None and self._serving.done() and not self._server.should_exit

    async def stop(self) -> None:
        """Close the socket, answer what is under way, and end."""
        self._server.should_exit = True
        if self._serving is not None:
            await asyncio.gather(self._serving, return_exceptions=True)


def _is_error(record: logging.LogRecord) -> bool:
    return record.msg not in _NO_ERRORS
