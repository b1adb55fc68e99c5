"""Reads what is sent of a turn: a frame as on Kafka, by its number or by its place in the text alone.

The conversation stands in the URL or in the frame, the tenant is the key's. Knows nothing of turns that are open.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipelines.turns.port import TurnKey
from schemas.errors import AskRefusedError, EventError
from schemas.turns.frame import MOST, DeltaFrame, read_frame

ANY_TENANT = "default"


class AskedFrame(NamedTuple):
    """A frame that was read.

    Attributes:
        key: of its turn.
        frame: as it was sent; where it has no number of its own, `seq` says nothing.
        is_numbered: it was sent with a number.
        after: settled tokens that the sender has; None where it does not say.
    """

    key: TurnKey
    frame: DeltaFrame
    is_numbered: bool
    after: int | None


def asked_frame(body: Mapping[str, Any], tenant: str | None, conversation_id: str | None = None) -> AskedFrame:
    """Read a frame.

    Args:
        body: its JSON.
        tenant: of the key; None leaves that to the frame.
        conversation_id: of the URL; None leaves that to the frame.

    Raises:
        AskRefusedError: it is none; names the field, never its content.
    """
    given = dict(body)
    after = number_of(given.pop("after", None), "after")
    for name, own in (("tenant", tenant), ("conversation_id", conversation_id)):
        if own is not None and given.setdefault(name, own) != own:
            source = "the key" if name == "tenant" else "the URL"
            raise AskRefusedError("invalid_request", f"{name}: not that of {source}", param=name)
    is_numbered = given.get("seq") is not None
    if not is_numbered:
        if given.get("offset") is None:
            raise AskRefusedError("invalid_request", "seq: missing, and there is no offset either", param="seq")
        given["seq"] = 0
    given.setdefault("turn", 0)
    try:
        frame = read_frame(given)
    except EventError as error:
        raise AskRefusedError("invalid_request", error.detail, param=error.detail.partition(":")[0]) from None
    return AskedFrame(TurnKey(frame.tenant, frame.conversation_id, frame.turn), frame, is_numbered, after)


def number_of(value: object, name: str) -> int | None:
    """A whole number that may be left out.

    Raises:
        AskRefusedError: it is none; names it.
    """
    if value is None:
        return None
    if isinstance(value, str) and value.isdecimal() and len(value) < len(str(MOST)):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST:
        raise AskRefusedError("invalid_request", f"{name}: a whole number from 0 on is needed", param=name)
    return value
