"""Reads a body within its limits, and writes answers and refusals. No error says what a body holds (P10)."""

import asyncio
import json
import re
from collections.abc import Mapping
from math import ceil
from typing import Any, NoReturn

from pydantic_core import PydanticSerializationError, to_json
from starlette.requests import Request
from starlette.responses import Response

from schemas.dead_letter import DeadLetter
from schemas.errors import AskRefusedError, EventError
from schemas.reading import json_text

MAX_BODY = 1 << 20
MAX_ITEMS = 256
BODY_S = 10.0  # a body that takes longer is cut off
# Of a body that is too large, read and thrown away: whoever still writes when a connection ends never reads why.
MAX_DRAINED = 16 << 20
MAX_READING = 64 << 20  # bytes of all bodies that are being read or answered
STATUS = {
    "invalid_json": 400,
    "invalid_request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "slow_body": 408,
    "delta_after_final": 409,
    "gap": 409,
    "offset_conflict": 409,
    "role_conflict": 409,
    "seq_conflict": 409,
    "unknown_turn": 409,
    "body_too_large": 413,
    "unjudgeable": 422,
    "not_assessed": 422,
    "rate_limited": 429,
    "internal": 500,
    "unavailable": 503,
    "overloaded": 503,
    "draining": 503,
}
_KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Reading:
    """Bodies of one server.

    Attributes:
        held: bytes of those that are being read or answered.
    """

    def __init__(self) -> None:
        self.held = 0

    async def body(self, request: Request) -> bytearray:
        """The body; `forget` it once it is answered.

        Raises:
            AskRefusedError: it is too large, too slow, or cut off.
        """
        announced = request.headers.get("content-length", "")
        length = int(announced[:18]) if announced.isdecimal() else 0
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_S):
                if length > MAX_BODY:
                    await _refuse_large(request, more=length <= MAX_DRAINED)
                await self._fill(body, request)
        except BaseException as error:
            self.forget(body)
            if isinstance(error, TimeoutError):
                raise AskRefusedError("slow_body", f"body: not here within {BODY_S:.0f} s") from None
            raise
        return body

    def forget(self, body: bytearray) -> None:
        """It is held no longer."""
        self.held -= len(body)

    async def _fill(self, body: bytearray, request: Request) -> None:
        more = True
        while more:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise AskRefusedError("invalid_request", "body: cut off")
            part = message.get("body", b"")
            body += part
            self.held += len(part)
            more = message.get("more_body", False)
            if len(body) > MAX_BODY:
                self.forget(body)
                body.clear()
                await _refuse_large(request, more=more)
            if self.held > MAX_READING:
                raise AskRefusedError("overloaded", "too many bodies at once", retry_after_s=1.0, sheds=True)


def object_of(body: bytes | bytearray) -> dict[str, Any]:
    """The JSON object of a body.

    Raises:
        AskRefusedError: it is none; names the place, not what stands there.
    """
    try:
        read = json_text.read(bytes(body))
    except EventError as error:
        raise AskRefusedError("invalid_json", error.detail.replace("value:", "body:", 1)) from None
    if not isinstance(read, dict):
        raise AskRefusedError("invalid_json", f"body: a JSON object is needed, found {type(read).__name__}")
    return read


def answered(content: object, headers: Mapping[str, str]) -> Response:
    """A response in JSON, which has no word for what is no number: null, in what a form gives back."""
    try:
        body = to_json(content, inf_nan_mode="null")
    except PydanticSerializationError:  # half of a character, in what a form gives back
        body = json.dumps(json.loads(json.dumps(content), parse_constant=lambda _: None)).encode()
    return Response(body, 200, dict(headers), "application/json")


def refused(content: object, error: AskRefusedError, headers: Mapping[str, str]) -> Response:
    """A refusal with its status and what it says about coming again."""
    told = dict(headers)
    status = STATUS[error.code]
    if error.retry_after_s is not None:
        told["retry-after"] = str(ceil(error.retry_after_s))
    if error.sheds:
        told["x-should-retry"] = "false"  # OpenAI's clients come again at once otherwise
    if status == 401:
        told["www-authenticate"] = "Bearer"
    if error.code in ("body_too_large", "slow_body", "draining"):
        told["connection"] = "close"
    return Response(to_json(content), status, told, "application/json")


def openai_error(error: AskRefusedError) -> dict[str, Any]:
    """A refusal in OpenAI's form, with the index of the item at fault."""
    status = STATUS[error.code]
    kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    told: dict[str, Any] = {
        "message": error.detail,
        "type": kind,
        "param": error.param,
        "code": error.reason or error.code,
    }
    if error.index is not None:
        told["index"] = error.index
    if error.expected is not None:
        told["expected"] = dict(error.expected)
    return {"error": told}


def unjudgeable(index: int, letter: DeadLetter) -> AskRefusedError:
    """The refusal of a question for an item that could not be judged."""
    return AskRefusedError(
        "unjudgeable", f"item {index}: {letter.detail}", param=f"input.{index}", index=index, reason=letter.reason
    )


def known_id(value: str | None) -> str | None:
    """An id that a client gave, where it is one."""
    return value if value is not None and _ID.fullmatch(value) else None


async def _refuse_large(request: Request, *, more: bool) -> NoReturn:
    drained = 0
    while more and drained < MAX_DRAINED:
        message = await request.receive()
        drained += len(message.get("body", b""))
        more = message.get("more_body", False)  # of one who has gone: none
    raise AskRefusedError("body_too_large", f"body: more than {MAX_BODY} bytes")
