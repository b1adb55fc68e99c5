"""The turns over WebSocket: the same frames, many turns on one connection, each frame with an answer of its own.

A message is a frame with its `conversation_id`. What is read ahead of answers that were sent is bounded, so that
whoever does not read is not read either. A stop says where each turn is to go on, and closes with 1012.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakKeyDictionary

from pydantic_core import to_json
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from schemas.errors import AskRefusedError
from workers.ask.exchange import known_id, object_of, openai_error, refused
from workers.ask.keys import Caller
from workers.ask.measures import AskMeasures
from workers.ask.spans import AskSpan
from workers.ask.turns.asked import AskedFrame, asked_frame
from workers.ask.turns.door import Taken, TurnDoor
from workers.ask.turns.http import SOCKET_PATH
from workers.ask.turns.open_turn import OpenTurn
from workers.telemetry.export import Tracing
from workers.telemetry.log import log_event

log = logging.getLogger(__name__)
MOST_UNANSWERED: Final = 64  # frames of one connection
SEND_S: Final = 30.0  # an answer that cannot be sent for so long ends the connection
RESTART, NOT_TEXT = 1012, 1003


@dataclass(eq=False)
class _Connection:
    """One connection: `has` is, of each turn that is known, how many settled tokens it was sent or said it had."""

    socket: WebSocket
    caller: Caller
    span: AskSpan
    room: asyncio.Semaphore
    out: "asyncio.Queue[dict[str, Any] | Taken]" = field(default_factory=asyncio.Queue)
    has: WeakKeyDictionary[OpenTurn, int] = field(default_factory=WeakKeyDictionary)
    at_work: set["asyncio.Task[None]"] = field(default_factory=set)
    tasks: "Sequence[asyncio.Task[None]]" = ()


class TurnSockets:
    """Serves connections.

    Args:
        door: takes frames.
        enter: finds the caller of a request for a route; raises AskRefusedError.
        tracing: of this process.
        measures: of this server.
        deadline_s: longest time of a frame.
    """

    def __init__(
        self,
        door: TurnDoor,
        enter: Callable[[HTTPConnection, str], Caller],
        tracing: Tracing,
        measures: AskMeasures,
        deadline_s: float,
    ) -> None:
        self._door = door
        self._enter = enter
        self._tracing = tracing
        self._measures = measures
        self._deadline_s = deadline_s
        self._open: set[_Connection] = set()

    def __len__(self) -> int:
        """Connections that are open."""
        return len(self._open)

    async def serve(self, socket: WebSocket) -> None:
        """One connection, from its request to its end."""
        span = AskSpan(self._tracing, SOCKET_PATH, socket.headers, method="GET")
        try:
            self._door.refuse_draining()
            caller = self._enter(socket, SOCKET_PATH)
        except AskRefusedError as error:
            response = refused(openai_error(error), error, span.headers)
            await socket.send_denial_response(response)
            span.end(response.status_code)
            self._measures.ended(SOCKET_PATH, error.code, 0.0)
            return
        headers = [(name.encode(), value.encode()) for name, value in span.headers.items()]
        await socket.accept(headers=headers)
        connection = _Connection(socket, caller, span, asyncio.Semaphore(MOST_UNANSWERED))
        self._open.add(connection)
        try:
            await self._converse(connection)
        except (WebSocketDisconnect, OSError):
            pass  # the sender has gone; its turns go on elsewhere
        finally:
            self._open.discard(connection)
            for task in connection.at_work:
                task.cancel()
            span.end(101)

    async def drain(self, most_s: float) -> None:
        """Take no more frames, answer those that were taken, say where each turn goes on, and close.

        Args:
            most_s: longest wait for answers.
        """
        open_now = list(self._open)
        await asyncio.gather(*(self._leave(connection, most_s) for connection in open_now), return_exceptions=True)

    # -- one connection ----------------------------------------------------------------------------------------------

    async def _converse(self, connection: _Connection) -> None:
        tasks = reading, writing = (
            asyncio.create_task(self._read(connection)),
            asyncio.create_task(self._write(connection)),
        )
        connection.tasks = tasks
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if reading.cancelled():  # it is being drained, and its writer is ended then
                await asyncio.wait((writing,))
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception) and not isinstance(error, WebSocketDisconnect | OSError):
                log.error(log_event("internal_error", error=type(error).__name__, route=SOCKET_PATH, request_id=""))
                await _close(connection.socket, 1011, "internal error")

    async def _read(self, connection: _Connection) -> None:
        """Take frames in the order in which they come, as long as there is room for their answers."""
        while True:
            await connection.room.acquire()
            message = await connection.socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is None:
                await _close(connection.socket, NOT_TEXT, "a message is JSON text")
                return
            self._frame(connection, text)

    def _frame(self, connection: _Connection, text: str) -> None:
        """Take one frame, without waiting for anything; what becomes of it goes to the writer."""
        started = time.perf_counter()
        told: dict[str, Any] = {}
        asked: AskedFrame | None = None
        try:
            body = object_of(text.encode("utf-8", "surrogatepass"))
            told = {name: body[name] for name in ("conversation_id", "turn", "seq") if _is_plain(body.get(name))}
            connection.caller.rates.take_request()
            asked = asked_frame(body, connection.caller.tenant)
            deadline = asyncio.get_running_loop().time() + self._deadline_s
            spend = connection.caller.rates.take_tokens
            taken = None if self._door.lacks(asked) else self._door.take(asked, deadline, spend)
        except AskRefusedError as error:
            self._refuse(connection, told, error, started)
            return
        if (known := self._door.turns.known(asked.key)) is not None:
            connection.has[known] = connection.has.get(known, 0) if asked.after is None else asked.after
        task = asyncio.create_task(self._judge(connection, asked, taken, deadline, told, started))
        connection.at_work.add(task)
        task.add_done_callback(connection.at_work.discard)

    async def _judge(
        self,
        connection: _Connection,
        asked: AskedFrame,
        taken: Taken | None,
        deadline: float,
        told: dict[str, Any],
        started: float,
    ) -> None:
        try:
            taken = await self._door.judged(
                asked, taken, deadline, connection.span.carrier, connection.caller.rates.take_tokens
            )
        except AskRefusedError as error:
            self._refuse(connection, told, error, started)
        except Exception as raised:  # noqa: BLE001 - a fault of ours, whose text may quote the frame
            kind = type(raised).__name__
            log.error(log_event("internal_error", error=kind, route=SOCKET_PATH, request_id=""))
            self._refuse(connection, told, AskRefusedError("internal", f"internal error: {kind}"), started)
        else:
            self._measures.ended(SOCKET_PATH, None, time.perf_counter() - started)
            connection.out.put_nowait(taken)

    def _refuse(self, connection: _Connection, told: dict[str, Any], error: AskRefusedError, started: float) -> None:
        self._measures.ended(SOCKET_PATH, error.code, time.perf_counter() - started)
        content = {**told, **openai_error(error)}
        if error.retry_after_s is not None:
            content["retry_after_s"] = error.retry_after_s
        connection.out.put_nowait(content)

    async def _write(self, connection: _Connection) -> None:
        """Send answers, one after another: what a turn has said by then, and was not sent on this connection."""
        while True:
            content = await connection.out.get()
            if isinstance(content, Taken):
                turn, has = content.turn, connection.has.get(content.turn, 0)
                content = {"answers": content.seq, **turn.answer(has)}
                connection.has[turn] = max(has, content["after"])
            try:
                async with asyncio.timeout(SEND_S):
                    await connection.socket.send_text(to_json(content).decode())
            except TimeoutError:
                log.warning(log_event("ask_socket_slow", seconds=SEND_S))
                return
            connection.room.release()
            connection.out.task_done()

    async def _leave(self, connection: _Connection, most_s: float) -> None:
        reading, writing = connection.tasks
        reading.cancel()
        if connection.at_work:
            await asyncio.wait(set(connection.at_work), timeout=most_s)
        places = []
        for turn in list(connection.has):
            key = turn.turn.key
            if turn.turn.end is None and self._door.turns.known(key) is turn:
                name = {"conversation_id": key.conversation_id, "tenant": key.tenant, "turn": key.turn}
                places.append({**name, **turn.expected()})
        connection.out.put_nowait({"resume": places})
        try:
            async with asyncio.timeout(most_s):
                await connection.out.join()
                await _close(connection.socket, RESTART, "resume as was said")
        finally:
            writing.cancel()


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    if socket.application_state is WebSocketState.CONNECTED:
        await socket.close(code, reason)


def _is_plain(value: object) -> bool:
    """What is said back of a frame that was refused: a number, or an id that can be nothing else."""
    if isinstance(value, str):
        return known_id(value) is not None
    return isinstance(value, int) and not isinstance(value, bool)
