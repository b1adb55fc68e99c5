"""Guardrails of LLM gateways: LiteLLM's generic guardrail and Portkey's webhook.

Both let everything pass that has no decision, so each answer has one. What is flagged is blocked: a gateway cannot wait
for a review. What could not be judged is an error, which LiteLLM can be told to block upon. Portkey's open gateway lets
it pass, unless the webhook's headers have `Prefer: handling=lenient`, with which it is blocked as unjudged.
"""

from collections.abc import Mapping
from typing import Any

from schemas.dead_letter import DeadLetter
from schemas.errors import AskRefusedError
from workers.ask.asking import Answer, Item
from workers.ask.codecs.fields import list_at, object_at, refuse_other_parts, turns_of, wrong
from workers.ask.codecs.labels import is_flagged, verdict_of
from workers.ask.route import Question, Reply, Route

_ANSWER = "assistant"
_BEFORE, _AFTER = "beforeRequestHook", "afterRequestHook"


def read_litellm(body: Mapping[str, Any]) -> Question:
    """Each text by itself, since LiteLLM joins what it likes; as an answer where it is one and its prompt is known."""
    texts = list_at(body, "texts") if body.get("texts") is not None else []
    if not all(isinstance(text, str) for text in texts):
        raise wrong("texts", "a list of texts is needed")
    if body.get("images"):
        raise AskRefusedError("not_assessed", "images: only text is assessed", param="images")
    if body.get("input_type") not in ("request", "response"):
        raise wrong("input_type", "request or response is needed")
    context = body.get("structured_messages") or []
    if body["input_type"] == "response" and context:
        return Question([_answer_item(turns_of(context, "structured_messages"), text) for text in texts])
    return Question([{"text": text} for text in texts])


def write_litellm(reply: Reply) -> dict[str, Any]:
    """BLOCKED or NONE, and the verdicts under `weir`."""
    reasons = _reasons(reply)
    decided = {"action": "BLOCKED", "blocked_reason": "; ".join(reasons)} if reasons else {"action": "NONE"}
    return {**decided, "weir": {"results": _verdicts(reply)}}


def read_portkey(body: Mapping[str, Any]) -> Question:
    """The last turn before the request, or the answer after it.

    Portkey's own service says which with `eventType`; its open gateway sends both parts and does not, and has a status
    only once there is an answer.
    """
    request = object_at(body, "request")
    asked = request.get("json")
    turns = asked.get("messages") if isinstance(asked, dict) else None
    response = body.get("response")
    is_after = isinstance(response, dict) and response.get("statusCode") is not None
    event = body.get("eventType")
    if event not in (_BEFORE, _AFTER):
        event = _AFTER if is_after else _BEFORE
    if event == _BEFORE:
        if turns:
            return Question([{"messages": turns_of(turns, "request.json.messages")}])
        return Question([{"text": _text_of(request, asked, "request")}])
    texts = _said(object_at(body, "response"))
    if turns:
        return Question([_answer_item(turns_of(turns, "request.json.messages"), text) for text in texts])
    return Question([{"text": text} for text in texts])


def write_portkey(reply: Reply) -> dict[str, Any]:
    """`verdict` is true for what may pass."""
    reasons = _reasons(reply)
    return {"verdict": not reasons, "data": {"reasons": reasons, "results": _verdicts(reply)}}


def _said(response: Mapping[str, Any]) -> list[str]:
    """The answers: of a chat, of a completion, or of Anthropic's messages, whose text Portkey does not take out."""
    said = response.get("json")
    choices = said.get("choices") if isinstance(said, dict) else None
    if choices:
        if not isinstance(choices, list):
            raise wrong("response.json.choices", "a list is needed")
        texts = [_choice(choice, number) for number, choice in enumerate(choices)]
        if not all(isinstance(text, str) for text in texts):
            raise wrong("response", "json.choices or a text is needed")
        return [str(text) for text in texts]
    parts = said.get("content") if isinstance(said, dict) else None
    if isinstance(parts, list) and all(isinstance(part, dict) for part in parts):
        return [str(part.get("text")) for part in parts if part.get("type") == "text"] or [""]
    return [_text_of(response, said, "response")]


def _text_of(side: Mapping[str, Any], whole: object, field: str) -> str:
    """The text that Portkey took out. It takes none out of forms that it does not know, which would pass unread."""
    text = side.get("text")
    if not isinstance(text, str) or (not text and whole):
        raise wrong(field, "a form whose text is known is needed")
    return text


def _choice(choice: object, number: int) -> object:
    if isinstance(choice, dict) and "message" not in choice:
        return choice.get("text")
    message = choice.get("message") if isinstance(choice, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    refuse_other_parts(content, f"response.json.choices.{number}.message.content")
    return "" if isinstance(message, dict) and content is None else content  # a call of a tool


def _answer_item(turns: list[Any], text: str) -> Item:
    """An answer after its prompt. What the turns end with, where it is an answer already, is the same one."""
    context = turns[:-1] if turns[-1].get("role") == _ANSWER else turns
    return {"messages": [*context, {"role": _ANSWER, "content": text}]} if context else {"text": text}


def _reasons(reply: Reply) -> list[str]:
    """What each flagged text is flagged for, in labels only."""
    return [reason for answer in reply.answers if (reason := _reason(answer)) is not None]


def _reason(answer: Answer) -> str | None:
    outcome = answer.outcome
    if isinstance(outcome, DeadLetter):
        return None if answer.is_skipped else f"unjudged: {outcome.reason}"
    if not is_flagged(outcome):
        return None
    return f"{outcome.severity}: {', '.join(outcome.kind.categories)}"


def _verdicts(reply: Reply) -> list[dict[str, Any]]:
    return [
        {"skipped" if one.is_skipped else "unjudged": one.outcome.reason}
        if isinstance(one.outcome, DeadLetter)
        else {"verdict": verdict_of(one.outcome)}
        for one in reply.answers
    ]


LITELLM = Route("/beta/litellm_basic_guardrail_api", read_litellm, write_litellm)
PORTKEY = Route("/webhook/portkey", read_portkey, write_portkey, is_lenient=True)
