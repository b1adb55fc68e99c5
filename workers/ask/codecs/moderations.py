"""`POST /v1/moderations`, as OpenAI has it; an input may also be an event with `messages`, as on Kafka."""

from collections.abc import Mapping
from typing import Any

from schemas.errors import AskRefusedError
from schemas.verdict import Category
from workers.ask.asking import Answer, Item
from workers.ask.codecs.fields import TEXT_PARTS, refuse_other_parts, wrong
from workers.ask.codecs.labels import UNJUDGED, Names, labels_of, model_of
from workers.ask.route import Question, Reply, Route

PATH = "/v1/moderations"
NAMES: Names = {
    "harassment": Category.UNETHICAL_ACTS,  # one label for both, which cannot be told apart
    "harassment/threatening": None,
    "hate": Category.UNETHICAL_ACTS,
    "hate/threatening": None,
    "illicit": Category.NON_VIOLENT_ILLEGAL_ACTS,
    "illicit/violent": None,
    "self-harm": Category.SELF_HARM,
    "self-harm/intent": None,
    "self-harm/instructions": None,
    "sexual": Category.SEXUAL_CONTENT,
    "sexual/minors": None,
    "violence": Category.VIOLENT,
    "violence/graphic": None,
    "pii": Category.PII,
    "politically_sensitive": Category.POLITICALLY_SENSITIVE,
    "copyright": Category.COPYRIGHT_VIOLATION,
    "jailbreak": Category.JAILBREAK,
}


def read(body: Mapping[str, Any]) -> Question:
    """The inputs: a text, texts, parts of one text, or events."""
    given = body.get("input")
    if isinstance(given, str | dict):
        given = [given]
    if not isinstance(given, list) or not given:
        raise wrong("input", "a text or a list of at least one is needed")
    if isinstance(given[0], dict) and "type" in given[0]:
        return Question([_of_parts(given)])
    return Question([_item(one, f"input.{index}", index) for index, one in enumerate(given)])


def write(reply: Reply) -> dict[str, Any]:
    """OpenAI's answer, and ours under `weir`."""
    return {
        "id": f"modr-{reply.request_id}",
        "model": model_of(reply.answers),
        "results": [_result(answer) for answer in reply.answers],
    }


def _item(one: object, field: str, index: int) -> Item:
    if isinstance(one, str):
        return {"text": one}
    if isinstance(one, dict) and "type" not in one:
        turns = one.get("messages")
        if isinstance(turns, list) and turns and isinstance(turns[-1], dict):
            refuse_other_parts(turns[-1].get("content"), f"{field}.messages.{len(turns) - 1}.content")
        refuse_other_parts(one.get("text"), f"{field}.text")
        return one
    raise wrong(field, "a text or an object with messages is needed", index)


def _of_parts(parts: list[Any]) -> Item:
    """One text of parts. What is no text is not assessed, and no answer may look as if it were."""
    for index, part in enumerate(parts):
        field = f"input.{index}"
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise wrong(field, "a part with a type is needed", 0)
        if part["type"] not in TEXT_PARTS:
            raise AskRefusedError("not_assessed", f"{field}: only text is assessed", param=field, index=0)
    refuse_other_parts(parts, "input")
    return {"text": parts}


def _result(answer: Answer) -> dict[str, Any]:
    labels = labels_of(answer, NAMES)
    return {
        "flagged": labels.flagged,
        "categories": labels.categories,
        "category_scores": labels.scores,
        "category_applied_input_types": {
            name: [] if name in labels.not_assessed or name == UNJUDGED else ["text"] for name in labels.categories
        },
        "weir": {**labels.weir, "not_assessed": labels.not_assessed},
    }


ROUTE = Route(PATH, read, write, is_lenient=True)
