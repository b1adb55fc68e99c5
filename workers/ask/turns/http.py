"""The turns over HTTP: a frame by POST, what is known of a turn by GET."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request

from pipelines.turns.port import TurnKey
from schemas.errors import AskRefusedError
from workers.ask.exchange import object_of
from workers.ask.keys import Caller
from workers.ask.turns.asked import ANY_TENANT, asked_frame, number_of
from workers.ask.turns.door import TurnDoor
from workers.ask.turns.open_turn import ROUTE

PATH: Final = "/v1/stream/{conversation_id}"
SOCKET_PATH: Final = ROUTE  # what a key's routes name, for both
MAX_ID: Final = 256


def conversation_of(request: Request) -> str:
    """The conversation in the URL.

    Raises:
        AskRefusedError: it is longer than an id may be.
    """
    name = str(request.path_params["conversation_id"])
    if len(name) > MAX_ID:
        raise AskRefusedError("invalid_request", f"conversation_id: more than {MAX_ID} characters")
    return name


async def framed(
    door: TurnDoor,
    request: Request,
    body: bytes | bytearray,
    caller: Caller,
    deadline: float,
    carrier: Mapping[str, str],
) -> dict[str, Any]:
    """The answer to a frame.

    Raises:
        AskRefusedError: see `TurnDoor.answer`; the body is no frame.
    """
    asked = asked_frame(object_of(body), caller.tenant, conversation_of(request))
    return await door.answer(asked, deadline, carrier, caller.rates.take_tokens)


def known(door: TurnDoor, request: Request, caller: Caller) -> dict[str, Any]:
    """What is known of a turn, which `turn`, `after` and `tenant` in the URL name.

    Raises:
        AskRefusedError: nothing is, or they are wrong.
    """
    given = request.query_params
    tenant = given.get("tenant") or caller.tenant or ANY_TENANT
    if caller.tenant not in (None, tenant):
        raise AskRefusedError("invalid_request", "tenant: not that of the key", param="tenant")
    turn = number_of(given.get("turn"), "turn") or 0
    return door.state(TurnKey(tenant, conversation_of(request), turn), number_of(given.get("after"), "after"))
