"""Receives spans over OTLP in a process of its own and counts them afterwards: an exporter's target for benchmarks.

Requests are kept until it is asked, so that during a run it costs no more than reading them.
"""

import multiprocessing
import os
import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class SpanSink:
    """One sink; use as a context manager. `variables` make a process send its spans here."""

    def __init__(self) -> None:
        self.variables: dict[str, str] = {}
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        self.variables = _variables(self._connection.recv())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.join()

    def stall(self) -> None:
        """Answer nothing from now on; connections to it stand."""
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    @staticmethod
    def nowhere() -> dict[str, str]:
        """The variables that make a process send its spans where nobody listens."""
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            return _variables(unused.getsockname()[1])

    def taken(self, name: str) -> int:
        """Spans whose name begins so, of all that have come since it was last asked."""
        self._connection.send(name)
        return int(self._connection.recv())


def _variables(port: int) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://127.0.0.1:{port}/v1/traces",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
    }


def _serve(asked: Connection) -> None:
    requests: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            requests.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    asked.send(server.server_port)
    while True:
        name = asked.recv()
        taken, requests[:] = requests[:], []
        asked.send(sum(_count(request, name) for request in taken))


def _count(request: bytes, name: str) -> int:
    resources = ExportTraceServiceRequest.FromString(request).resource_spans
    spans = (span for resource in resources for scope in resource.scope_spans for span in scope.spans)
    return sum(span.name.startswith(name) for span in spans)
