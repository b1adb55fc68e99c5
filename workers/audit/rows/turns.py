"""The conversations that a row holds, and those of their turns that are to be judged.

What a turn is, the event's own reader says.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from schemas.reading.turns import usual_turn
from workers.audit.rows.presets import Turns

_JUDGED = ("user", "assistant")


class JudgedTurns(NamedTuple):
    """A conversation up to the turn that is judged. `name` tells it from the row's others; empty where it is the only
    one that is asked for. `left` turns of the row hold a text too, and are judged by nobody.
    """

    messages: Any
    name: str
    left: int


def judged_turns(messages: Any, answer: Any, turns: Turns, *, takes_text: bool) -> Iterator[JudgedTurns]:
    """What is to be judged of a row.

    Args:
        messages: the row's turns; what is no list of turns comes as it is, to be refused.
        answer: what was answered to them: a text, a turn, or several that are alternatives.
        turns: which.
        takes_text: a text in place of turns is a user's, as where answers stand beside it; else it is refused.
    """
    if isinstance(messages, str) and takes_text:
        messages = [{"role": "user", "content": messages}]
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        yield JudgedTurns(messages, "", 0)
        return
    asked = [usual_turn(entry) for entry in messages]
    answers = _answers(answer) or [None]
    for number, given in enumerate(answers):
        conversation = [*asked, *([] if given is None else [given])]
        with_text = [place for place, turn in enumerate(conversation) if _is_judgeable(turn)]
        suffix = f".{number}" if number else ""
        if turns == "last":
            left = len([place for place in with_text if place < len(conversation) - 1]) if not number else 0
            yield JudgedTurns(conversation, f"{len(conversation) - 1}{suffix}" if number else "", left)
            continue
        roles = _JUDGED if turns == "all" else ("user",)
        chosen = [
            place
            for place in with_text
            if _role(conversation[place]) in roles and not (number and place < len(asked))  # those are judged once
        ]
        left = 0 if number else len(with_text) - len(chosen)
        if not chosen and not number:
            yield JudgedTurns(conversation, "", max(0, left - 1))
        for place in chosen:
            yield JudgedTurns(conversation[: place + 1], f"{place}{suffix}", left)
            left = 0


def _answers(answer: Any) -> list[Any]:
    """The alternatives that were answered, each as a turn."""
    if answer is None:
        return []
    if isinstance(answer, str):
        return [{"role": "assistant", "content": answer}]
    if isinstance(answer, Sequence):
        return [turn for entry in answer for turn in _answers(entry)]
    if not isinstance(answer, Mapping):
        return [answer]
    if answer.get("message") is not None:  # one of OpenAI's choices
        return _answers(answer["message"])
    if "content" not in answer and "text" not in answer:
        return []  # a call of a tool, or what it thought
    return [usual_turn({"role": "assistant", **answer})]


def _role(turn: Any) -> str:
    role = turn.get("role")
    return role.lower() if isinstance(role, str) else ""


def _is_judgeable(turn: Any) -> bool:
    """Whether a turn is said by someone and holds something."""
    if not isinstance(turn, Mapping) or _role(turn) not in _JUDGED:
        return False
    content = turn.get("content")
    return bool(content.strip() if isinstance(content, str) else content)
