"""A server in this process that answers as vLLM, SGLang, llama.cpp or a chat server does, and fails as they do.

What vLLM 0.32 said was measured, status and body; the others' forms were read in their sources. Raw asyncio, because a
fault is often one that no web framework would let happen.
"""

import asyncio
import json
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

PATHS = {"vllm": "/v1/completions", "sglang": "/generate", "llamacpp": "/completion", "chat": "/v1/chat/completions"}
FINGERPRINT = "vllm-0.32.0-c32059ed"
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
class Generated:
    """What the model writes about one prompt: ids with the end token, and all log-probabilities at each of them."""

    ids: list[int]
    text: str
    logprobs: Any
    finish: str = "stop"


@dataclass(frozen=True)
class Request:
    """What the server was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class FakeServer:
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
        self.generate = generate
        self._prompt_tokens = prompt_tokens
        self.flavour = flavour
        self.model = model
        self.max_model_len: int | None = 4096
        self.fingerprint = FINGERPRINT
        self.key: str | None = None
        self.health = 200
        self.faults: deque[str] = deque()
        self.poison: Sequence[int] | None = None
        self.deadly: Sequence[int] | None = None
        self.down_s = 0.02
        self.extra_tokens = 0  # that a chat's template would add
        self.delay_s = 0.0
        self.headers: dict[str, str] = {}
        self.requests: list[Request] = []
        self.judged: Counter[str] = Counter()
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-server")
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

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
            listed = {"id": self.model, "object": "model", "root": "/models/x", "max_model_len": self.max_model_len}
            return await self._send_json(writer, {"object": "list", "data": [listed]})
        if request.path != PATHS[self.flavour]:
            return await self._send(writer, 404, b'{"detail":"Not Found"}')
        fault = self.faults.popleft() if self.faults else ""
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        return await self._fail(fault, request, writer)

    async def _fail(self, fault: str, request: Request, writer: asyncio.StreamWriter) -> None:
        """The fault of this name, or the answer where there is none."""
        prompts = self._prompts_of(request.body)
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
        answer = spoilt(self._written(prompts, request.body), fault)
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

    def _prompts_of(self, body: Any) -> list[Any]:
        if self.flavour == "chat":
            return [json.dumps(body["messages"])]
        return list(body["input_ids" if self.flavour == "sglang" else "prompt"])

    def _written(self, prompts: list[Any], body: Any) -> Any:
        if self.flavour == "sglang" and body["sampling_params"]["max_new_tokens"] == 0:
            return self._sglang_verifying(prompts, body)
        for prompt in prompts:
            self.judged[json.dumps(prompt)] += 1
        return getattr(self, f"_{self.flavour}")(prompts, [self.generate(_frozen(prompt)) for prompt in prompts], body)

    def _vllm(self, prompts: list[Any], written: list[Generated], body: Any) -> Any:
        choices = []
        for index, (prompt, item) in enumerate(zip(prompts, written, strict=True)):
            logprobs = None
            if "logprob_token_ids" in body:
                rows = [
                    {f"token_id:{token}": float(row[token]) for token in body["logprob_token_ids"]}
                    for row in item.logprobs
                ]
                logprobs = {"tokens": [], "token_logprobs": [], "text_offset": [], "top_logprobs": rows}
            choices.append(
                {
                    "index": index,
                    "text": item.text,
                    "logprobs": logprobs,
                    "finish_reason": item.finish,
                    "stop_reason": item.ids[-1],
                    "prompt_token_ids": prompt,
                    "token_ids": item.ids,
                }
            )
        read, output = sum(map(len, prompts)), sum(len(item.ids) for item in written)
        usage = {"prompt_tokens": read, "completion_tokens": output, "total_tokens": read + output}
        head = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": self.model}
        return {**head, "choices": choices, "system_fingerprint": self.fingerprint, "usage": usage}

    def _sglang_verifying(self, prompts: list[Any], body: Any) -> Any:
        """What a prefill of prompts and drafts tells: the likeliest token for each that is there."""
        items = []
        for request, ids, start in zip(body["rid"], prompts, body["logprob_start_len"], strict=True):
            written, draft = self.generate(tuple(ids[: start + 1])), ids[start + 1 :]
            # Behind the first token that differs, the likeliest is of no interest: any other than the draft's will do.
            same = next((k for k, token in enumerate(draft) if written.ids[k : k + 1] != [token]), len(draft))
            top = [*draft[:same], *written.ids[same : same + 1], *([0] * len(draft))][: len(draft)]
            meta: dict[str, Any] = {"id": request, "finish_reason": {"type": "length", "length": 0}}
            meta |= {"prompt_tokens": len(ids), "completion_tokens": 0, "weight_version": self.fingerprint}
            meta["input_token_logprobs"] = [[None, ids[start], None], *([-0.5, token, None] for token in draft)]
            meta["input_top_logprobs"] = [None, *([[-0.1, token, None]] for token in top)]
            if "token_ids_logprob" in body:
                rows = [written.logprobs[min(k, same, len(written.ids) - 1)] for k in range(len(draft))]
                labels = body["token_ids_logprob"]
                meta["input_token_ids_logprobs"] = [
                    None,
                    *([[float(row[token]), token, None] for token in labels] for row in rows),
                ]
            items.append({"text": "", "output_ids": [], "meta_info": meta})
        return items if len(items) > 1 else items[0]

    def _sglang(self, prompts: list[Any], written: list[Generated], body: Any) -> Any:
        items = []
        for request, prompt, item in zip(body["rid"], prompts, written, strict=True):
            finish: dict[str, Any] = {"type": item.finish}
            meta: dict[str, Any] = {"id": request, "finish_reason": finish, "prompt_tokens": len(prompt)}
            meta |= {"completion_tokens": len(item.ids), "cached_tokens": 0, "weight_version": self.fingerprint}
            if "token_ids_logprob" in body:
                meta["output_token_ids_logprobs"] = [
                    [[float(row[token]), token, None] for token in body["token_ids_logprob"]] for row in item.logprobs
                ]
            items.append({"text": item.text, "output_ids": item.ids, "meta_info": meta})
        return items if len(items) > 1 else items[0]

    def _llamacpp(self, prompts: list[Any], written: list[Generated], _: Any) -> Any:
        items = [
            {
                "index": index,
                "content": item.text,
                "tokens": item.ids,
                "model": self.model,
                "stop": True,
                "stop_type": "eos" if item.finish == "stop" else "limit",
                "tokens_predicted": len(item.ids),
                "tokens_evaluated": len(prompt),
                "truncated": False,
            }
            for index, (prompt, item) in enumerate(zip(prompts, written, strict=True))
        ]
        return items if len(items) > 1 else items[0]

    def _chat(self, prompts: list[Any], written: list[Generated], _: Any) -> Any:
        (prompt,), (item,) = prompts, written
        message = {"role": "assistant", "content": item.text}
        choices = [{"index": 0, "message": message, "finish_reason": item.finish}]
        usage = {"prompt_tokens": self._prompt_tokens(prompt) + self.extra_tokens, "completion_tokens": len(item.ids)}
        return {"object": "chat.completion", "model": self.model, "choices": choices, "usage": usage}

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


def spoilt(answer: Any, fault: str) -> Any:
    """An answer of vLLM's with one thing wrong in it."""
    if fault and fault != "cut":
        SPOILING[fault](answer)
    return answer


def _change(**changes: Any) -> Callable[[Any], None]:
    """Change fields of the first choice."""
    return lambda answer: answer["choices"][0].update(changes)


def _cut_ids(count: int, **changes: Any) -> Callable[[Any], None]:
    def cut(answer: Any) -> None:
        first = answer["choices"][0]
        first.update(token_ids=first["token_ids"][:-count], **changes)

    return cut


def _swap(answer: Any) -> None:
    choices = answer["choices"]
    choices[0]["index"], choices[-1]["index"] = choices[-1]["index"], choices[0]["index"]


def _no_number(answer: Any) -> None:
    row = answer["choices"][0]["logprobs"]["top_logprobs"][0]
    row.update(dict.fromkeys(row, float("nan")))


SPOILING: dict[str, Callable[[Any], object]] = {
    "too few": lambda answer: answer["choices"].pop(),
    "twice": lambda answer: answer["choices"][-1].update(index=len(answer["choices"])),
    "swapped": _swap,
    "other model": lambda answer: answer.update(model="another"),
    "other prompt": lambda answer: answer["usage"].update(prompt_tokens=answer["usage"]["prompt_tokens"] + 5),
    "other fingerprint": lambda answer: answer.update(system_fingerprint="vllm-0.33.0-0badc0de"),
    "null text": _change(text=None),
    "error": _change(finish_reason="error", token_ids=[]),
    "abort": _change(finish_reason="abort", token_ids=[]),
    "clamped": _cut_ids(3, finish_reason="length"),
    "no end": _cut_ids(1),
    "no ids": _change(token_ids=None),
    "nan": _no_number,
}


def _frozen(prompt: Any) -> Any:
    return prompt if isinstance(prompt, str) else tuple(prompt)


def _head(status: int, length: int, kind: str, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {REASONS[status]}", "date: Mon, 30 Nov 2026 00:00:00 GMT", "server: uvicorn"]
    lines += [
        f"content-length: {length}",
        f"content-type: {kind}",
        *(f"{name}: {text}" for name, text in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
