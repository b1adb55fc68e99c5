"""A server in this process that answers as vLLM, SGLang, llama.cpp or a chat server does, and fails as they do.

What vLLM 0.32 said was measured, status and body; the others' forms were read in their sources. Raw asyncio, because a
fault is often one that no web framework would let happen.
"""

import asyncio
import json
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from tests.workers.serving.remote.fake_answers import Answers, Generated, spoilt

PATHS = {"vllm": "/v1/completions", "sglang": "/generate", "llamacpp": "/completion", "chat": "/v1/chat/completions"}
BAD_REQUEST = b'{"error":{"message":"%s","type":"BadRequestError","param":null,"code":400}}'
NOT_FOUND = b'{"error":{"message":"The model `%s` does not exist.","type":"NotFoundError","param":"model","code":404}}'
CRASHED = (
    b'{"error":{"message":"EngineCore encountered an issue. See stack trace (above) for the root cause.",'
    b'"type":"InternalServerError","param":null,"code":500}}'
)
REASONS = {200: "OK", 302: "Found", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found"}
REASONS |= {422: "Unprocessable Entity", 429: "Too Many Requests", 500: "Internal Server Error"}
REASONS |= {502: "Bad Gateway", 503: "Service Unavailable"}


@dataclass(frozen=True)
class Request:
    """What the server was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class FakeServer(Answers):
    """Use as a context manager; its loop has a thread of its own.

    Args:
        generate: what the model writes, by its prompt: token ids, or a chat's messages as JSON.
        flavour: what it answers as.
        prompt_tokens: of a chat's messages as JSON.

    Attributes:
        generate: as given; another model is another function.
        faults: one is taken for each call that generates; empty: none.
        poison, deadly: ids in a row that make a whole call a bad request, or end the server; None: none do.
        requests: all that was asked.
    """

    def __init__(
        self,
        generate: Callable[[Any], Generated],
        flavour: str = "vllm",
        *,
        model: str = "guard",
        prompt_tokens: Callable[[str], int] = len,
    ) -> None:
        super().__init__(generate, flavour, model, prompt_tokens)
        self.max_model_len: int | None = 4096
        self.key: str | None = None
        self.health = 200
        self.faults: deque[str] = deque()
        self.poison: Sequence[int] | None = None
        self.deadly: Sequence[int] | None = None
        self.down_s = 0.02
        self.delay_s = 0.0
        self.headers: dict[str, str] = {}
        self.requests: list[Request] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-server")
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def posts(self) -> list[Request]:
        """What it was asked to write; health checks come in between as they like."""
        return [request for request in self.requests if request.body is not None]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self.listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self.vanish())
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def die(self) -> None:
        """Close all connections and listen no longer."""
        self._do(self.vanish())

    def rise(self) -> None:
        """Listen again, on the same port."""
        self._do(self.listen())

    async def listen(self) -> None:
        self.health = 200
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def vanish(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            while (line := await reader.readline()).strip():
                method, path, _ = line.decode().split(" ")
                headers = {}
                while text := (await reader.readline()).decode().strip():
                    name, _, value = text.partition(": ")
                    headers[name.lower()] = value
                data = await reader.readexactly(int(headers.get("content-length", 0)))
                request = Request(method, path, headers, json.loads(data) if data else None)
                self.requests.append(request)
                await self._answer(request, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.transport.abort()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
            return await self._send(writer, 401, b'{"error":"Unauthorized"}')
        if request.path == "/health":
            return await self._send(writer, self.health, b"")
        if request.path == "/v1/models":
            listed: Any = {"id": self.model, "object": "model", "root": "/models/x"}
            if self.flavour != "llamacpp":
                listed["max_model_len"] = self.max_model_len
            elif self.max_model_len is not None:  # older builds have no such member
                listed["meta"] = {"n_ctx": self.max_model_len}
            return await self._send_json(writer, {"object": "list", "data": [listed]})
        if request.path != PATHS[self.flavour]:
            return await self._send(writer, 404, b'{"detail":"Not Found"}')
        fault = self.faults.popleft() if self.faults else ""
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        return await self._fail(fault, request, writer)

    async def _fail(self, fault: str, request: Request, writer: asyncio.StreamWriter) -> None:
        """The fault of this name, or the answer where there is none."""
        prompts = self.prompts_of(request.body)
        if self.deadly is not None and any(self._holds(prompt, self.deadly) for prompt in prompts):
            fault = "crash"
        if self.poison is not None and any(self._holds(prompt, self.poison) for prompt in prompts):
            fault = "400"
        if fault[:3].isdigit():
            return await self._refuse(fault, writer)
        if fault == "crash":
            self.health = 503
            await self._send(writer, 500, CRASHED)
            again = asyncio.create_task(self._restart())
            self._tasks.add(again)
            again.add_done_callback(self._tasks.discard)
            return None
        if fault == "hang":
            return await asyncio.sleep(3600)
        if fault == "reset":
            return writer.transport.abort()
        if fault == "html":
            return await self._send(writer, 200, b"<html>private words</html>")
        answer = spoilt(self.written(prompts, request.body), fault)
        if fault == "cut":
            data = json.dumps(answer).encode()
            writer.write(_head(200, len(data), "application/json", {}) + data[: len(data) // 2])
            await writer.drain()
            writer.transport.abort()
            return None
        return await self._send_json(writer, answer)

    async def _refuse(self, fault: str, writer: asyncio.StreamWriter) -> None:
        """Answer with a status; behind it may stand how long to wait."""
        status, _, wait_s = fault.partition(" ")
        kind = "application/json"
        body = b'{"error":{"message":"private words"}}'
        if status == "400":
            body = BAD_REQUEST % b"Token id 9999 is out of vocabulary: private words"
        elif status == "404":
            body = NOT_FOUND % self.model.encode()
        elif status == "500":
            body = CRASHED
        elif status == "503":
            body, kind = b"Service Unavailable", "text/plain; charset=utf-8"
        await self._send(writer, int(status), body, kind=kind, headers={"Retry-After": wait_s} if wait_s else {})

    async def _restart(self) -> None:
        await asyncio.sleep(0.005)
        await self.vanish()
        await asyncio.sleep(self.down_s)
        await self.listen()

    @staticmethod
    def _holds(prompt: Any, ids: Sequence[int]) -> bool:
        return any(prompt[start : start + len(ids)] == list(ids) for start in range(len(prompt) - len(ids) + 1))

    async def _send_json(self, writer: asyncio.StreamWriter, body: Any) -> None:
        await self._send(writer, 200, json.dumps(body).encode())

    async def _send(
        self,
        writer: asyncio.StreamWriter,
        status: int,
        body: bytes,
        *,
        kind: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> None:
        writer.write(_head(status, len(body), kind, {**self.headers, **(headers or {})}) + body)
        await writer.drain()


def _head(status: int, length: int, kind: str, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {REASONS[status]}", "date: Mon, 30 Nov 2026 00:00:00 GMT", "server: uvicorn"]
    lines += [
        f"content-length: {length}",
        f"content-type: {kind}",
        *(f"{name}: {text}" for name, text in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
