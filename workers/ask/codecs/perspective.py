"""`POST /v1alpha1/comments:analyze`, as Perspective had it. Attributes that nobody assesses are refused by name."""

from collections.abc import Mapping
from typing import Any

from schemas.errors import AskRefusedError
from schemas.verdict import Category
from workers.ask.codecs.fields import object_at, text_at, wrong
from workers.ask.codecs.labels import Names, labels_of
from workers.ask.exchange import STATUS
from workers.ask.route import Question, Reply, Route

NAMES: Names = {
    "TOXICITY": Category.UNETHICAL_ACTS,
    "INSULT": Category.UNETHICAL_ACTS,
    "IDENTITY_ATTACK": Category.UNETHICAL_ACTS,
    "THREAT": Category.VIOLENT,
    "SEXUALLY_EXPLICIT": Category.SEXUAL_CONTENT,
}
PERSPECTIVE = (
    "TOXICITY SEVERE_TOXICITY IDENTITY_ATTACK INSULT PROFANITY THREAT SEXUALLY_EXPLICIT FLIRTATION SPAM INCOHERENT"
    " INFLAMMATORY OBSCENE UNSUBSTANTIAL LIKELY_TO_REJECT ATTACK_ON_AUTHOR ATTACK_ON_COMMENTER"
)
_PERSPECTIVE = frozenset(PERSPECTIVE.split(" "))
_STATUSES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE",
}  # fmt: skip
MOST_CONTEXT = 16


def read(body: Mapping[str, Any]) -> Question:
    """The comment, after those that it answers."""
    wanted = object_at(body, "requestedAttributes")
    if not wanted:
        raise wrong("requestedAttributes", "at least one is needed")
    if absent := [name for name in wanted if name not in NAMES]:
        # Names of a sender's own making are not repeated.
        told = ", ".join(sorted(name for name in absent if name in _PERSPECTIVE)) or "an attribute that nobody knows"
        raise AskRefusedError("not_assessed", f"requestedAttributes: {told}: not assessed", param="requestedAttributes")
    text = text_at(object_at(body, "comment"), "text", "comment.")
    context = object_at(body, "context").get("entries", []) if body.get("context") is not None else []
    if not isinstance(context, list) or not all(isinstance(entry, dict) for entry in context):
        raise wrong("context.entries", "a list of objects is needed")
    turns = [text_at(entry, "text", "context.entries.") for entry in context[-MOST_CONTEXT:]]
    return Question([{"messages": [{"role": "user", "content": turn} for turn in (*turns, text)]}], (body, len(text)))


def write(reply: Reply) -> dict[str, Any]:
    """Scores of the attributes that were asked for; what they mean stands under `weir`."""
    body, length = reply.question.asked
    labels = labels_of(reply.answers[0], NAMES)
    told: dict[str, Any] = {"attributeScores": {}, "weir": labels.weir}
    for name in body["requestedAttributes"]:
        score = {"value": labels.scores[name], "type": "PROBABILITY"}
        told["attributeScores"][name] = {
            "spanScores": [{"begin": 0, "end": length, "score": score}],
            "summaryScore": score,
        }
    for name in ("languages", "clientToken"):
        if name in body:
            told[name] = body[name]
    return told


def refusal(error: AskRefusedError) -> dict[str, Any]:
    """Google's form of an error."""
    status = STATUS[error.code]
    code = 400 if status == 422 else status
    return {"error": {"code": code, "message": error.detail, "status": _STATUSES.get(status, "INVALID_ARGUMENT")}}


ROUTE = Route("/v1alpha1/comments:analyze", read, write, refusal)
