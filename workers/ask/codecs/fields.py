"""Fields of bodies, read by name; what is wrong is named and never repeated."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeVar

from schemas.errors import AskRefusedError
from schemas.handling import Handled
from schemas.reading.turns import text_of

Value = TypeVar("Value", str, dict[str, Any], list[Any])
TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal"})


def wrong(field: str, rule: str, index: int | None = None) -> AskRefusedError:
    """A field that is not as it has to be."""
    return AskRefusedError("invalid_request", f"{field}: {rule}", param=field, index=index)


def text_at(body: Mapping[str, Any], field: str, prefix: str = "") -> str:
    """A text.

    Raises:
        AskRefusedError: it is none.
    """
    return _of_kind(str, "a text", body, field, prefix)


def object_at(body: Mapping[str, Any], field: str) -> dict[str, Any]:
    """An object; raises as `text_at`."""
    return _of_kind(dict, "an object", body, field, "")


def list_at(body: Mapping[str, Any], field: str, prefix: str = "") -> list[Any]:
    """A list; raises as `text_at`."""
    return _of_kind(list, "a list", body, field, prefix)


def _of_kind(kind: type[Value], named: str, body: Mapping[str, Any], field: str, prefix: str) -> Value:
    value = body.get(field)
    if not isinstance(value, kind):
        raise wrong(prefix + field, f"{named} is needed")
    return value


def turns_of(value: object, field: str) -> list[Any]:
    """Turns of a conversation, at least one; what each holds is read as of an event.

    Raises:
        AskRefusedError: it is no such list, or a turn has an image, which nobody assesses.
    """
    if not isinstance(value, list) or not value or not all(isinstance(turn, dict) for turn in value):
        raise wrong(field, "a list of messages is needed")
    refuse_other_parts(value[-1].get("content"), f"{field}.{len(value) - 1}.content")
    return value


def refuse_other_parts(content: object, field: str) -> None:
    """Refuse a content that has anything but text: its answer would look as if that were assessed.

    Raises:
        AskRefusedError: it has.
    """
    for number, part in enumerate(content if isinstance(content, list) else ()):
        if not _is_text(part):
            raise AskRefusedError("not_assessed", f"{field}.{number}: only text is assessed", param=field)


def _is_text(part: object) -> bool:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind is not None and not (isinstance(kind, str) and kind in TEXT_PARTS):
        return False
    handled: Counter[Handled] = Counter()
    text_of([part], handled)
    return not handled[Handled.PARTS_NOT_ASSESSED]
