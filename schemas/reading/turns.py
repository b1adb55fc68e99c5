"""Turns of a conversation as chat programs and providers write them, made into those that the chat template shows.

Context is not judged, so nothing in it can make a record a dead letter: what the template cannot show is dropped and
counted. The last turn is judged, and is refused where that is impossible. It counts as empty only where none of its
usual members says anything.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.errors import EventError
from schemas.handling import Handled
from schemas.reasons import Reason

Turn = dict[str, str]
Counts = Counter[Handled]
_SYSTEM = frozenset({"system", "developer"})
_SHOWN = frozenset({"user", "assistant"})
_NO_TURN = frozenset({"tool", "function"})  # what a program said
# Kinds of parts that hold no text of their author's. Anything else without a text is of a form that is not known.
_NO_TEXT = re.compile(
    "image|audio|video|voice|photo|sticker|gif|media|file|inline_?data|document|attachment|tool|function|thinking"
    "|reasoning|step|source"
)
_BESIDE_TEXT = ("tool_calls", "function_call", "attachments")
# As other programs call roles, and the members that hold a turn's role and its content; the first that is there counts.
_USUAL_ROLES = {
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "bing", "bard", "bot", "chatbot", "model", "ai"), "assistant"),
    **dict.fromkeys(("observation", "function_response"), "tool"),
    "function_call": "assistant",
}
_ROLES_AT = ("role", "from", "sender", "author")
_CONTENTS_AT = ("content", "value", "text", "message", "parts", "refusal", "audio")
_MAY_BE_NULL = 5  # of these: a null there is a content that is null
_TEXTS_AT = ("text", "refusal", "transcript", "caption")  # of a part
_SURROGATE = re.compile("[\ud800-\udfff]")
_BETWEEN_PARTS = "\n"
_BETWEEN_SYSTEM_TURNS = "\n\n"


def normal_turns(given: Sequence[Any], counts: Counts) -> list[Turn]:
    """The turns to judge: one system turn at most, at the front, then users' and assistants'; the last one is judged.

    Args:
        given: turns as they came, oldest first; at least one.
        counts: what is done is counted here.

    Raises:
        EventError: the last turn cannot be judged; names its field.
    """
    last = len(given) - 1
    judged = _judged_turn(usual_turn(given[last]), last, counts)
    system: list[str] = []
    context: list[Turn] = []
    for index, turn in enumerate(map(usual_turn, given[:last])):
        role = _role_of(turn)
        if role in _SYSTEM:
            text = text_of(turn.get("content"), counts)
            system += [] if text is None else [text]
            counts[Handled.SYSTEM_TURNS_MERGED] += text is not None and index > 0
            counts[Handled.TURNS_DROPPED] += text is None
        elif role in _SHOWN and (text := _text_of_turn(turn, role, counts)) is not None:
            context.append({"role": role, "content": text})
        else:
            counts[Handled.TURNS_DROPPED] += 1
    turns = [*context, judged]
    if system:
        return [{"role": "system", "content": _BETWEEN_SYSTEM_TURNS.join(system)}, *turns]
    # The template shows nothing of an assistant's turn that comes first.
    first = next((index for index, turn in enumerate(turns) if turn["role"] == "user"), len(turns))
    if first == len(turns):
        raise EventError(Reason.UNSUPPORTED_ROLE, f"messages.{last}.role: assistant, without a turn that it answers")
    counts[Handled.TURNS_DROPPED] += first
    return turns[first:]


def usual_turn(turn: Any) -> Any:
    """A turn under the usual names of role and content; what is no turn, as it is.

    Of the members that may hold what was said, the first that says something is the content, as an empty one may stand
    beside it: `{"content": "", "parts": […]}`, `{"content": null, "audio": {"transcript": …}}`.
    """
    if not isinstance(turn, Mapping):
        return turn
    role, content = turn.get("role"), turn.get("content")
    usual = usual_role(role)
    if role is None:
        usual = next((usual_role(turn[name]) for name in _ROLES_AT if turn.get(name) is not None), None)
        if usual is None and usual_role(turn.get("type")) in (*_SYSTEM, *_SHOWN, *_NO_TURN):
            usual = usual_role(turn["type"])  # as LangChain writes it
    if _says_nothing(content):
        found = next((turn[name] for name in _CONTENTS_AT if not _says_nothing(turn.get(name))), None)
        if found is None and "content" not in turn:
            found = next((turn[name] for name in _CONTENTS_AT if turn.get(name) is not None), None)
        content = content if found is None else found
    has_content = any(name in turn for name in _CONTENTS_AT[:_MAY_BE_NULL])
    if usual is role and content is turn.get("content") and has_content == ("content" in turn):
        return turn
    return {**turn, "role": usual, **({"content": content} if has_content or content is not None else {})}


def usual_role(role: Any) -> Any:
    """A role by its usual name; one that is not known as it is."""
    if isinstance(role, Mapping):
        role = role.get("role")
    if not isinstance(role, str):
        return role
    return _USUAL_ROLES.get(role.strip().lower(), role)


def _says_nothing(content: Any) -> bool:
    return not (text_of(content, Counter()) or "").strip()


def text_of(content: Any, counts: Counts) -> str | None:
    """The text of a content: itself, or its parts' texts joined, parts without one counted. None where it has none."""
    if isinstance(content, str):
        return whole_characters(content, counts)
    if isinstance(content, Mapping):
        parts = content.get("parts")  # as exports of ChatGPT have them
        content = parts if _text_of_part(content) is None and isinstance(parts, list | tuple) else (content,)
    if not isinstance(content, Sequence) or isinstance(content, bytes):
        return None
    texts = []
    for part in content:
        if (text := _text_of_part(part)) is None:
            counts[Handled.PARTS_NOT_ASSESSED] += 1
        else:
            texts.append(whole_characters(text, counts))
    # Strings among the parts are pieces of one text, as Telegram writes it around its links.
    return ("" if any(isinstance(part, str) for part in content) else _BETWEEN_PARTS).join(texts)


def whole_characters(text: str, counts: Counts) -> str:
    """The text, with U+FFFD for each half of a character, which no model can read."""
    if text.isascii() or _SURROGATE.search(text) is None:
        return text
    # Through UTF-16, in which two halves that stand side by side are one character.
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    text, replaced = _SURROGATE.subn("\ufffd", text)
    counts[Handled.SURROGATES_REPLACED] += replaced
    return text


def _judged_turn(turn: Any, index: int, counts: Counts) -> Turn:
    field = f"messages.{index}"
    if not isinstance(turn, Mapping):
        raise EventError(Reason.WRONG_TYPE, f"{field}: an object is needed, found {type(turn).__name__}")
    if turn.get("role") is None:
        raise EventError(Reason.MISSING_FIELD, f"{field}.role: missing")
    role = _role_of(turn)
    if role not in _SHOWN:
        known = role if role in _SYSTEM | _NO_TURN else "this one"
        raise EventError(Reason.UNSUPPORTED_ROLE, f"{field}.role: {known} cannot be judged")
    if "content" not in turn and not any(turn.get(name) for name in _BESIDE_TEXT):
        raise EventError(Reason.MISSING_FIELD, f"{field}.content: missing")
    text = _text_of_turn(turn, role, counts)
    refuse_without_text(f"{field}.content", turn.get("content"), text)
    return {"role": role, "content": text or ""}


def refuse_without_text(field: str, content: Any, text: str | None) -> None:
    """Refuse a content that is to be judged and has no text.

    Raises:
        EventError: `blank_text` where there is nothing to judge: nothing, white space, attachments; `wrong_type` where
            there may be something, in a form that is not known.
    """
    if text is not None and text.strip():
        return
    parts = (content,) if isinstance(content, Mapping) else content
    if content is not None and (text is None or not all(map(_is_text_or_attachment, parts))):
        found = type(content).__name__
        raise EventError(Reason.WRONG_TYPE, f"{field}: a text or parts with a text are needed, found {found}")
    raise EventError(Reason.BLANK_TEXT, f"{field}: empty or only white space")


def _is_text_or_attachment(part: Any) -> bool:
    if part is None or _text_of_part(part) is not None:
        return True
    if not isinstance(part, Mapping):
        return False
    kind = part.get("type")
    # Gemini and Bedrock write no kind: it is the name of the member that holds the part.
    kinds = [kind] if isinstance(kind, str) else [name for name in part if isinstance(part[name], Mapping)]
    is_null = any(name in part and part[name] is None for name in _TEXTS_AT)
    return is_null or any(_NO_TEXT.search(name.lower()) for name in kinds)


def _text_of_turn(turn: Mapping[str, Any], role: str, counts: Counts) -> str | None:
    """A turn's text. A user's without any, as of a picture, stays, so that what answers it is not the first turn."""
    content = turn.get("content")
    text = text_of(content, counts)
    return "" if text is None and content is None and role == "user" else text


def _role_of(turn: Any) -> str:
    role = turn.get("role") if isinstance(turn, Mapping) else None
    return role.strip().lower() if isinstance(role, str) else ""


def _text_of_part(part: Any) -> str | None:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        return None
    for name in _TEXTS_AT:
        text = part.get(name)
        if isinstance(text, Mapping):
            text = text.get("value", text.get("text"))
        if isinstance(text, str):
            return text
    return None
