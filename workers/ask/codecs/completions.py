"""`POST /v1/chat/completions`, as a server of Qwen3Guard-Gen has it: the lines that the model wrote."""

from collections.abc import Mapping
from typing import Any

from pipelines.guard import GuardAnswer
from pipelines.guard_family import QWEN3GUARD_GEN
from schemas.dead_letter import DeadLetter
from workers.ask.asking import Answer
from workers.ask.codecs.fields import turns_of, wrong
from workers.ask.codecs.labels import verdict_of
from workers.ask.exchange import unjudgeable
from workers.ask.route import Question, Reply, Route

_NOT_OFFERED = ("stream", "logprobs", "tools")


def read(body: Mapping[str, Any]) -> Question:
    """The conversation. How to sample is not asked: a guard is greedy, and its answer is whole."""
    for name in _NOT_OFFERED:
        if body.get(name):
            raise wrong(name, "not offered: an answer is one short text")
    if body.get("n") not in (None, 1):
        raise wrong("n", "1 is the only choice")
    return Question([{"messages": turns_of(body.get("messages"), "messages")}])


def write(reply: Reply) -> dict[str, Any]:
    """OpenAI's chat completion, and the verdict under `weir`."""
    (answer,) = reply.answers
    outcome = answer.outcome
    if isinstance(outcome, DeadLetter):  # white space alone
        raise unjudgeable(0, outcome)
    verdict = verdict_of(outcome)
    prompt, output = verdict["usage"]["prompt_tokens"], verdict["usage"]["output_tokens"]
    return {
        "id": f"chatcmpl-{reply.request_id}",
        "object": "chat.completion",
        "created": reply.created,
        "model": outcome.provenance.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": written(answer)},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output},
        "weir": {"verdict": verdict},
    }


def written(answer: Answer) -> str:
    """What the model wrote; of a text that was judged in pieces, about the first that is as bad as the whole."""
    outcome = answer.outcome
    texts = [one.result.text for one in answer.judged if isinstance(one.result, GuardAnswer)]
    assert not isinstance(outcome, DeadLetter)
    task, severity = outcome.kind.task, outcome.kind.severity
    return next(text for text in texts if QWEN3GUARD_GEN.parse(text, task).severity is severity)


ROUTE = Route("/v1/chat/completions", read, write)
