"""Asks an ASGI application without a socket."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any, NamedTuple


class Got(NamedTuple):
    """A response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Its body."""
        return json.loads(self.body)


async def post(
    app: Any,
    path: str,
    body: object = None,
    headers: dict[str, str] | None = None,
    *,
    parts: Sequence[bytes] | None = None,
    method: str = "POST",
    query: bytes = b"",
    leaves: asyncio.Event | None = None,
    never_ends: bool = False,
) -> Got:
    """One request.

    Args:
        app: the application.
        path: of the URL.
        body: sent as JSON; bytes as they are.
        headers: of the request.
        parts: sent one after another in place of a body.
        method: of the request.
        query: of the URL.
        leaves: the caller goes away once this is set.
        never_ends: more is announced than comes.
    """
    sent = list(parts or [body if isinstance(body, bytes) else json.dumps(body).encode()])
    waiting = [
        {"type": "http.request", "body": part, "more_body": never_ends or number < len(sent)}
        for number, part in enumerate(sent, 1)
    ]
    said: dict[str, Any] = {"body": b""}

    async def receive() -> Any:
        if waiting:
            return waiting.pop(0)
        await (leaves or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            said.update(status=message["status"], headers=message["headers"])
        else:
            said["body"] += message.get("body", b"")

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "root_path": "",
        "scheme": "http",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 1),
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
    }
    await app(scope, receive, send)
    return Got(said["status"], {name.decode(): value.decode() for name, value in said["headers"]}, said["body"])
