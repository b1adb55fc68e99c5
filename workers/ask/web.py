"""The HTTP application: one way for all routes, from a request to its answer or refusal.

Key, limits, body, question, answer; each may refuse. Knows nothing of what routes read and write.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route as WebRoute
from starlette.routing import WebSocketRoute

from schemas.dead_letter import DeadLetter
from schemas.errors import AskRefusedError
from workers.ask.asking import Answer, Asking
from workers.ask.exchange import MAX_ITEMS, Reading, answered, known_id, object_of, openai_error, refused, unjudgeable
from workers.ask.keys import Caller, KeyRing
from workers.ask.measures import AskMeasures
from workers.ask.route import Reply, Route
from workers.ask.spans import AskSpan
from workers.ask.turns.door import TurnDoor
from workers.ask.turns.http import PATH, SOCKET_PATH, framed, known
from workers.ask.turns.sockets import TurnSockets
from workers.telemetry.export import Tracing
from workers.telemetry.log import log_event

log = logging.getLogger(__name__)
MODELS = "/v1/models"
TIMEOUT_HEADER = "x-request-timeout-seconds"
_LENIENT = "handling=lenient"
_LEAST_S = 0.001
Given = TypeVar("Given")


class AskWeb:
    """Answers requests.

    Args:
        asking: the core behind routes; None where there are none.
        routes: what may be asked.
        keys: who may ask.
        is_ready: whether the guard has answered lately.
        tracing: of this process.
        measures: of this server.
        deadline_s: longest time of a request.
        model: as it is listed.
        door: takes turns while they are written; None where that is off.

    Attributes:
        is_draining: nothing new is taken on.
        sockets: connections of turns; None where that is off.
    """

    def __init__(
        self,
        asking: Asking | None,
        routes: Sequence[Route],
        keys: KeyRing,
        is_ready: Callable[[], bool],
        tracing: Tracing,
        measures: AskMeasures,
        deadline_s: float,
        model: str,
        door: TurnDoor | None = None,
    ) -> None:
        self._asking = asking
        self._keys = keys
        self._is_ready = is_ready
        self._tracing = tracing
        self._measures = measures
        self._deadline_s = deadline_s
        self._model = model
        self._started = int(time.time())
        self._reading = Reading()
        self.is_draining = False
        self._door = door
        self.sockets = None if door is None else TurnSockets(door, self._enter, tracing, measures, deadline_s)
        if door is not None and self.sockets is not None:
            measures.watch_turns(door.turns, door.turns.ends, self.sockets, lambda: door.tokens)
        self.app = Starlette(
            routes=[
                WebRoute("/healthz", self._healthz, methods=["GET"]),
                WebRoute("/readyz", self._readyz, methods=["GET"]),
                WebRoute(MODELS, self._models, methods=["GET"]),
                *(WebRoute(route.path, partial(self._answer, route), methods=["POST"]) for route in routes),
                *self._turn_routes(),
            ],
            exception_handlers={404: partial(_no_route, "not_found"), 405: partial(_no_route, "method_not_allowed")},
        )
        self.app.router.redirect_slashes = False

    async def _healthz(self, _: Request) -> Response:
        return answered({"status": "alive"}, {})

    async def _readyz(self, _: Request) -> Response:
        if self.is_draining or not self._is_ready():
            error = AskRefusedError(
                "unavailable", "draining" if self.is_draining else "the guard has not answered lately"
            )
            return refused(openai_error(error), error, {})
        return answered({"status": "ready"}, {})

    async def _models(self, request: Request) -> Response:
        """As OpenAI lists models."""
        try:
            self._enter(request, MODELS)
        except AskRefusedError as error:
            return refused(openai_error(error), error, {})
        entry = {"id": self._model, "object": "model", "created": self._started, "owned_by": "weir"}
        return answered({"object": "list", "data": [entry]}, {})

    def _enter(self, request: HTTPConnection, path: str) -> Caller:
        """Whoever asks, where that route is theirs; raises AskRefusedError."""
        caller = self._keys.caller(_authorization(request))
        caller.enter(path)
        return caller

    def _turn_routes(self) -> list[WebRoute | WebSocketRoute]:
        if self.sockets is None:
            return []
        return [
            WebSocketRoute(SOCKET_PATH, self.sockets.serve),
            WebRoute(PATH.replace("}", ":path}"), self._turn, methods=["GET", "POST"]),
        ]

    async def _turn(self, request: Request) -> Response:
        """A frame of a turn, or what is known of the turn."""
        return await self._responded(PATH, openai_error, request, partial(self._of_turn, request))

    async def _of_turn(
        self, request: Request, _request_id: str, headers: dict[str, str], carrier: Mapping[str, str]
    ) -> Any:
        assert self._door is not None
        caller = self._enter(request, SOCKET_PATH)
        try:
            caller.rates.take_request()
            if request.method == "GET":
                return known(self._door, request, caller)
            deadline = asyncio.get_running_loop().time() + _time_for(request, self._deadline_s)
            body = await self._reading.body(request)
            try:
                answer = framed(self._door, request, body, caller, deadline, carrier)
                return await _while_connected(request, answer)
            finally:
                self._reading.forget(body)
        finally:
            headers.update(caller.rates.headers())

    async def _answer(self, route: Route, request: Request) -> Response:
        return await self._responded(route.path, route.refusal, request, partial(self._content, route, request))

    async def _responded(
        self,
        path: str,
        refusal: Callable[[AskRefusedError], Any],
        request: Request,
        content: Callable[[str, dict[str, str], Mapping[str, str]], Awaitable[Any]],
    ) -> Response:
        """What `content` gives for a request id, headers of the answer, and a trace's carrier; or its refusal."""
        span = AskSpan(self._tracing, path, request.headers, request.method)
        request_id = known_id(request.headers.get("x-request-id")) or uuid.uuid4().hex
        headers = {"x-request-id": request_id, **span.headers}
        if key := known_id(request.headers.get("idempotency-key")):
            headers["idempotency-key"] = key
        started = time.perf_counter()
        fault: AskRefusedError | None = None
        try:
            response = answered(await content(request_id, headers, span.carrier), headers)
        except AskRefusedError as error:
            fault = error
            response = refused(refusal(error), error, headers)
        except Exception as raised:  # noqa: BLE001 - a fault of ours, whose text may quote the body
            told = type(raised).__name__
            log.error(log_event("internal_error", error=told, route=path, request_id=request_id))
            fault = AskRefusedError("internal", f"internal error: {told}")
            response = refused(refusal(fault), fault, headers)
        span.end(response.status_code)
        self._measures.ended(path, None if fault is None else fault.code, time.perf_counter() - started)
        return response

    async def _content(
        self, route: Route, request: Request, request_id: str, headers: dict[str, str], carrier: Mapping[str, str]
    ) -> Any:
        if self.is_draining:
            raise AskRefusedError("draining", "this server is stopping", retry_after_s=1.0)
        assert self._asking is not None
        caller = self._enter(request, route.path)
        try:
            caller.rates.take_request()
            deadline = asyncio.get_running_loop().time() + _time_for(request, self._deadline_s)
            body = await self._reading.body(request)
            try:
                self._asking.refuse_late(deadline)
                question = route.read(object_of(body))
                if len(question.items) > MAX_ITEMS:
                    raise AskRefusedError("invalid_request", f"items: {len(question.items)}, the limit is {MAX_ITEMS}")
                answer = self._asking.answer(question.items, caller.tenant, deadline, carrier, caller.rates.take_tokens)
                answers = await _while_connected(request, answer)
            finally:
                self._reading.forget(body)
        finally:
            headers.update(caller.rates.headers())
        self._measures.answered(answers)
        if not route.takes_failures and not (route.is_lenient and _is_lenient(request)):
            _refuse_failures(answers)
        return route.write(Reply(question, answers, request_id, int(time.time())))


def _authorization(request: HTTPConnection) -> str | None:
    """Who asks; LiteLLM and Google's clients say it in headers of their own, the latter also in the URL."""
    if given := request.headers.get("authorization"):
        return given
    headers = request.headers
    key = headers.get("x-api-key") or headers.get("x-goog-api-key") or request.query_params.get("key")
    return f"Bearer {key}" if key else None


async def _no_route(code: str, _request: Request, _error: Exception) -> Response:
    error = AskRefusedError(code, "no such route" if code == "not_found" else "this route takes another method")
    return refused(openai_error(error), error, {})


def _time_for(request: Request, most_s: float) -> float:
    """Seconds that the caller waits, and at most those of the settings.

    Raises:
        AskRefusedError: the header is no number.
    """
    asked = request.headers.get(TIMEOUT_HEADER)
    if asked is None:
        return most_s
    try:
        seconds = float(asked)
    except ValueError:
        seconds = float("nan")
    if not seconds >= 0:
        raise AskRefusedError("invalid_request", f"{TIMEOUT_HEADER}: a number of seconds is needed")
    return min(most_s, max(seconds, _LEAST_S))


async def _while_connected(request: Request, answer: Awaitable[Given]) -> Given:
    """The answer, or nothing any more where whoever asked has gone: nobody's time is spent on it then.

    Raises:
        AskRefusedError: nobody will read it.
    """
    answering = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((answering, gone), return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            return answering.result()
        raise AskRefusedError("invalid_request", "the caller has gone")
    finally:
        for task in (answering, gone):
            task.cancel()
        await asyncio.gather(answering, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _is_lenient(request: Request) -> bool:
    """Whether one of the caller's preferences, in any number of headers, is to be told instead of refused."""
    preferences = ",".join(request.headers.getlist("prefer")).split(",")
    return any(preference.partition(";")[0].strip().lower() == _LENIENT for preference in preferences)


def _refuse_failures(answers: Sequence[Answer]) -> None:
    """Raise for the first item without a verdict that is not skipped."""
    for index, answer in enumerate(answers):
        letter = answer.outcome
        if isinstance(letter, DeadLetter) and not answer.is_skipped:
            raise unjudgeable(index, letter)
