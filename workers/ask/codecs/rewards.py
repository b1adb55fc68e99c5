"""`POST /v1/rewards`: judgements of responses as rewards, by the formulas of Qwen3Guard's report (section 3.5).

    guard     1 where thinking and response are safe, else 0
    hybrid    min(-10, h) where one of them is not, min(-5, h) for a refusal, else h: the caller's own helpfulness
    p_safe    the probability of Safe, the lower one of both

Controversial is not safe, unless the tenant's policy treats it as Safe. Thinking is judged as a response of its own. A
judgement that is missing is null and masked, never a number: a number would be learned from.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import isfinite
from typing import Any, Literal, NamedTuple

from schemas.dead_letter import DeadLetter
from schemas.errors import AskRefusedError
from schemas.verdict import SEVERITY_RANK, Severity
from schemas.verdict_writer import VerdictText
from workers.ask.asking import Answer, Item
from workers.ask.codecs.fields import list_at, text_at, turns_of, wrong
from workers.ask.codecs.labels import error_of, verdict_of
from workers.ask.route import Question, Reply, Route

Kind = Literal["guard", "hybrid", "p_safe"]
KINDS = ("guard", "hybrid", "p_safe")
UNSAFE_AT_MOST, REFUSAL_AT_MOST = -10.0, -5.0
_THINK, _END_OF_THINKING = "<think>", "</think>"


class Response(NamedTuple):
    """What is to be rewarded.

    Attributes:
        prompt: turns before it.
        text: of the response.
        thinking: before the response; None or blank where there was none.
        helpfulness: for the hybrid reward.
    """

    prompt: Sequence[Mapping[str, Any]]
    text: str
    thinking: str | None = None
    helpfulness: float | None = None


class Reward(NamedTuple):
    """A response's reward; None where a judgement is missing.

    Attributes:
        value: the reward.
        answers: of the thinking, where there was any, and of the response.
    """

    value: float | None
    answers: Sequence[Answer]


class Asked(NamedTuple):
    """What the writers need."""

    kind: Kind
    responses: Sequence[Response]
    body: Mapping[str, Any]


def with_thinking(prompt: Sequence[Mapping[str, Any]], text: str, helpfulness: float | None = None) -> Response:
    """A response as a model writes it: thinking, its end, the answer."""
    before, end, after = text.partition(_END_OF_THINKING)
    if not end:
        return Response(prompt, text, None, helpfulness)
    return Response(prompt, after.strip(), before.strip().removeprefix(_THINK).strip(), helpfulness)


def question_of(responses: Sequence[Response], kind: Kind, body: Mapping[str, Any]) -> Question:
    """The items of responses: of each its thinking, where it has any, and itself."""
    items: list[Item] = []
    for one in responses:
        texts = [one.thinking, one.text] if one.thinking and one.thinking.strip() else [one.text]
        items += [{"messages": [*one.prompt, {"role": "assistant", "content": text}]} for text in texts]
    return Question(items, Asked(kind, responses, body))


def rewards_of(reply: Reply) -> list[Reward]:
    """The reward of each response."""
    asked: Asked = reply.question.asked
    answers = iter(reply.answers)
    found = []
    for one in asked.responses:
        own = [next(answers) for _ in range(2 if one.thinking and one.thinking.strip() else 1)]
        found.append(Reward(_value(asked.kind, one, own), own))
    return found


def _value(kind: Kind, response: Response, answers: Sequence[Answer]) -> float | None:
    verdicts = [answer.outcome for answer in answers if not isinstance(answer.outcome, DeadLetter)]
    if len(verdicts) < len(answers):
        return None
    if kind == "p_safe":
        return min(_probability(verdict) for verdict in verdicts)
    is_safe = all(verdict.kind.treated_as is Severity.SAFE for verdict in verdicts)
    if kind == "guard":
        return float(is_safe)
    assert response.helpfulness is not None
    if not is_safe:
        return min(UNSAFE_AT_MOST, response.helpfulness)
    return min(REFUSAL_AT_MOST, response.helpfulness) if verdicts[-1].kind.refusal else response.helpfulness


def _probability(verdict: VerdictText) -> float:
    scores = verdict_of(verdict)["scores"]
    if scores is None:
        raise AskRefusedError("not_assessed", "kind: p_safe needs guard.score_temperature to be set", param="kind")
    return float(scores["severity"][Severity.SAFE])


def kind_of(body: Mapping[str, Any]) -> Kind:
    """The formula that is asked for; guard where none is.

    Raises:
        AskRefusedError: it is not known.
    """
    kind = body.get("kind", "guard")
    if kind not in KINDS:
        raise wrong("kind", f"one of {', '.join(KINDS)} is needed")
    known: Kind = kind
    return known


def prompt_of(value: object, field: str) -> list[Mapping[str, Any]]:
    """A prompt: a text, or turns."""
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    return list(turns_of(value, field))


def read(body: Mapping[str, Any]) -> Question:
    """The responses."""
    kind = kind_of(body)
    items = list_at(body, "items")
    return question_of([_response(item, kind, f"items.{number}.") for number, item in enumerate(items)], kind, body)


def _response(item: object, kind: Kind, prefix: str) -> Response:
    if not isinstance(item, dict):
        raise wrong(prefix.rstrip("."), "an object is needed")
    helpfulness = _helpfulness(item, prefix) if kind == "hybrid" else None
    name = "messages" if "messages" in item else "prompt"
    prompt = prompt_of(item.get(name), prefix + name)
    text = text_at(item, "response", prefix)
    if item.get("thinking") is not None:
        return Response(prompt, text, text_at(item, "thinking", prefix), helpfulness)
    return with_thinking(prompt, text, helpfulness)


def _helpfulness(item: Mapping[str, Any], prefix: str) -> float:
    """The caller's own number. One that is none, or has no end, would come back as a reward."""
    given = item.get("helpfulness")
    if isinstance(given, int | float) and not isinstance(given, bool):
        with suppress(OverflowError):
            if isfinite(number := float(given)):
                return number
    raise AskRefusedError(
        "not_assessed", f"{prefix}helpfulness: a finite number is needed for hybrid", param=f"{prefix}helpfulness"
    )


def write(reply: Reply) -> dict[str, Any]:
    """Rewards, and of each response what they are made of."""
    rewards = rewards_of(reply)
    provenance = next(
        (one.outcome.provenance for one in reply.answers if not isinstance(one.outcome, DeadLetter)), None
    )
    return {
        "rewards": [reward.value for reward in rewards],
        "items": [_told(reward) for reward in rewards],
        "provenance": None if provenance is None else provenance.model_dump(),
    }


def _told(reward: Reward) -> dict[str, Any]:
    outcomes = [answer.outcome for answer in reward.answers]
    letters = [outcome for outcome in outcomes if isinstance(outcome, DeadLetter)]
    if letters:
        return {"severity": None, "refusal": None, "masked": True, "error": error_of(letters[0])}
    verdicts = [outcome for outcome in outcomes if not isinstance(outcome, DeadLetter)]
    severity = max((verdict.severity for verdict in verdicts), key=SEVERITY_RANK.__getitem__)
    return {"severity": severity, "refusal": verdicts[-1].kind.refusal, "masked": False}


ROUTE = Route("/v1/rewards", read, write, takes_failures=True)
