"""`POST /v1/chat/moderations`, as Mistral has it: the last turn of each conversation, judged in its context."""

from collections.abc import Mapping
from typing import Any

from schemas.verdict import Category
from workers.ask.codecs.fields import turns_of, wrong
from workers.ask.codecs.labels import Names, labels_of, model_of
from workers.ask.route import Question, Reply, Route

NAMES: Names = {
    "sexual": Category.SEXUAL_CONTENT,
    "hate_and_discrimination": Category.UNETHICAL_ACTS,
    "violence_and_threats": Category.VIOLENT,
    "dangerous_and_criminal_content": Category.NON_VIOLENT_ILLEGAL_ACTS,
    "selfharm": Category.SELF_HARM,
    "health": None,
    "financial": None,
    "law": None,
    "pii": Category.PII,
    "jailbreaking": Category.JAILBREAK,
    "politically_sensitive": Category.POLITICALLY_SENSITIVE,
    "copyright": Category.COPYRIGHT_VIOLATION,
}


def read(body: Mapping[str, Any]) -> Question:
    """One conversation, or several."""
    given = body.get("input")
    if not isinstance(given, list) or not given:
        raise wrong("input", "a conversation or a list of conversations is needed")
    if isinstance(given[0], dict) and "messages" not in given[0]:
        return Question([{"messages": turns_of(given, "input")}])
    return Question([_item(one, f"input.{index}") for index, one in enumerate(given)])


def _item(one: object, field: str) -> dict[str, Any]:
    if isinstance(one, dict):
        return {**one, "messages": turns_of(one.get("messages"), f"{field}.messages")}
    return {"messages": turns_of(one, field)}


def write(reply: Reply) -> dict[str, Any]:
    """Mistral's answer, and ours under `weir`."""
    results = []
    for answer in reply.answers:
        labels = labels_of(answer, NAMES)
        results.append(
            {
                "categories": labels.categories,
                "category_scores": labels.scores,
                "weir": {**labels.weir, "flagged": labels.flagged, "not_assessed": labels.not_assessed},
            }
        )
    return {"id": f"mod-{reply.request_id}", "model": model_of(reply.answers), "results": results}


ROUTE = Route("/v1/chat/moderations", read, write, is_lenient=True)
