"""An object store on 127.0.0.1 that speaks as much of S3's and GCS's HTTP as a lease needs: GET, PUT, conditions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any


class ObjectServer(ThreadingHTTPServer):
    """Objects by path. `conditional=False`: it takes no notice of conditions, as some that speak S3 do not."""

    def __init__(self, *, conditional: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.objects: dict[str, bytes] = {}
        self.generations: Counter[str] = Counter()
        self.conditional = conditional
        self.lock = Lock()
        self.answers_to_lose = 0

    @property
    def options(self) -> str:
        """Of a URI that names it."""
        return f"endpoint_override=127.0.0.1:{self.server_port}&scheme=http"


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ObjectServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        found = self.server.objects.get(self.path)
        self._answer(404 if found is None else 200, found or b"", found)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            before = self.server.objects.get(self.path)
            refused = (
                (self.headers["If-None-Match"] == "*" and before is not None)
                or (self.headers["If-Match"] not in (None, None if before is None else _tag(before)))
                or self.headers["x-goog-if-generation-match"] not in (None, str(self.server.generations[self.path]))
            )
            if refused and self.server.conditional:
                self._answer(412, b"", None)
                return
            self.server.objects[self.path] = body
            self.server.generations[self.path] += 1
            if self.server.answers_to_lose:
                self.server.answers_to_lose -= 1
                self._answer(500, b"", None)  # it is done, and its client is told otherwise
                return
        self._answer(200, b"", body)

    def _answer(self, status: int, body: bytes, tagged: bytes | None) -> None:
        self.send_response(status)
        if tagged is not None:
            self.send_header("ETag", _tag(tagged))
            self.send_header("x-goog-generation", str(self.server.generations[self.path]))
            self.send_header("Last-Modified", "Mon, 30 Nov 2026 08:00:00 GMT")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def _tag(content: bytes) -> str:
    return f'"{md5(content, usedforsecurity=False).hexdigest()}"'


@contextmanager
def object_server(*, conditional: bool = True) -> Iterator[ObjectServer]:
    """One that serves until the end of the block."""
    with ObjectServer(conditional=conditional) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
