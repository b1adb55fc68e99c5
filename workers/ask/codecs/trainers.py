"""Rewards as trainers ask for them: OpenRLHF, slime, verl, NeMo Gym.

Where a form can only say a number, a judgement that is missing is 503: all of them try that again, and none learns from
it. A prompt may come as the text of a chat template. Of a response nothing is taken for a turn: a model that writes the
template's words would be rewarded for a conversation that nobody had.
"""

import re
from collections.abc import Mapping
from typing import Any

from schemas.errors import AskRefusedError
from workers.ask.codecs.fields import list_at, object_at, text_at, wrong
from workers.ask.codecs.rewards import kind_of, prompt_of, question_of, rewards_of, with_thinking
from workers.ask.route import Question, Reply, Route

_TURN = re.compile(r"<\|im_start\|>(system|user|assistant)\n(.*?)(?:<\|im_end\|>\n?|\Z)", re.DOTALL)
_MASKED = {"mask_sample": True, "_ng_failure_class": "judge_failed"}  # NeMo RL's word for it, and NeMo Gym's
_FIRST_ANSWER = "<|im_start|>assistant\n"
_ENDS = re.compile(r"(?:\s|<\|im_end\|>|<\|endoftext\|>|</s>|<\|eot_id\|>)+\Z")


def turns_of_template(prompt: str) -> list[Mapping[str, Any]]:
    """The turns of a prompt in ChatML; any other text is one turn. An answer that has only begun is none."""
    turns = [{"role": role, "content": text} for role, text in _TURN.findall(prompt)]
    while turns and turns[-1]["role"] == "assistant" and turns[-1]["content"].strip() in ("", "<think>"):
        turns.pop()
    return list(turns) or [{"role": "user", "content": prompt}]


def read_openrlhf(body: Mapping[str, Any]) -> Question:
    """`query` is prompt and response in one text; `prompts` say where one ends."""
    queries, prompts = list_at(body, "query"), list_at(body, "prompts")
    if len(queries) != len(prompts):
        raise wrong("prompts", "one for each query is needed")
    responses = []
    for number, (query, prompt) in enumerate(zip(queries, prompts, strict=True)):
        if not isinstance(query, str) or not isinstance(prompt, str) or not query.startswith(prompt):
            raise wrong(f"query.{number}", "a text that begins with its prompt is needed")
        responses.append(with_thinking(turns_of_template(prompt), _ENDS.sub("", query[len(prompt) :])))
    return question_of(responses, _computed(body), body)


def write_openrlhf(reply: Reply) -> dict[str, Any]:
    """A number for each query."""
    rewards = _numbers(reply)
    return {"rewards": rewards, "scores": rewards, "extra_logs": {}}


def read_slime(body: Mapping[str, Any]) -> Question:
    """One response."""
    prompt = body.get("prompt")
    turns = turns_of_template(prompt) if isinstance(prompt, str) else prompt_of(prompt, "prompt")
    response = with_thinking(turns, _ENDS.sub("", text_at(body, "response")))
    return question_of([response], _computed(body), body)


def write_slime(reply: Reply) -> float:
    """The number alone."""
    return _numbers(reply)[0]


def read_verl(body: Mapping[str, Any]) -> Question:
    """Whole conversations in ChatML. All from the first answer on is the response: nobody says where it begins."""
    given = body.get("input")
    texts = [given] if isinstance(given, str) else list_at(body, "input")
    responses = []
    for number, text in enumerate(texts):
        prompt, begins, response = text.partition(_FIRST_ANSWER) if isinstance(text, str) else ("", "", "")
        if not begins:
            raise wrong(f"input.{number}", "a conversation in ChatML is needed")
        responses.append(with_thinking(turns_of_template(prompt), _ENDS.sub("", response)))
    return question_of(responses, _computed(body), body)


def write_verl(reply: Reply) -> dict[str, Any]:
    """As vLLM classifies."""
    data = [
        {"index": number, "label": "LABEL_0", "probs": [reward], "num_classes": 1}
        for number, reward in enumerate(_numbers(reply))
    ]
    model = str(reply.question.asked.body.get("model", ""))[:256]
    return {
        "id": f"classify-{reply.request_id}",
        "object": "list",
        "created": reply.created,
        "model": model,
        "data": data,
    }


def read_nemo(body: Mapping[str, Any]) -> Question:
    """One response of the Responses API; its reasoning is the thinking."""
    given = object_at(body, "responses_create_params").get("input")
    output = list_at(object_at(body, "response"), "output", "response.")
    said = [_texts(part, "content") for part in output if isinstance(part, dict) and part.get("type") == "message"]
    thought = [
        _texts(part, "content") or _texts(part, "summary")
        for part in output
        if isinstance(part, dict) and part.get("type") == "reasoning"
    ]
    response = with_thinking(prompt_of(given, "responses_create_params.input"), "\n".join(said))
    if thought:
        response = response._replace(thinking="\n".join(thought))
    return question_of([response], _computed(body), body)


def write_nemo(reply: Reply) -> dict[str, Any]:
    """What came, with its reward. A sample without a judgement is masked, and counted as a judge's failure."""
    (reward,) = rewards_of(reply)
    told = {**reply.question.asked.body, "reward": 0.0 if reward.value is None else reward.value}
    return {**told, **_MASKED} if reward.value is None else told


def _texts(part: Mapping[str, Any], field: str) -> str:
    content = part.get(field)
    if isinstance(content, str):
        return content
    pieces = content if isinstance(content, list) else ()
    found = [piece.get("text", piece.get("refusal")) for piece in pieces if isinstance(piece, dict)]
    return "\n".join(text for text in found if isinstance(text, str))


def _computed(body: Mapping[str, Any]) -> Any:
    """The formula; none that needs what these forms cannot say."""
    kind = kind_of(body)
    if kind == "hybrid":
        raise AskRefusedError("not_assessed", "kind: hybrid needs helpfulness, which /v1/rewards takes", param="kind")
    return kind


def _numbers(reply: Reply) -> list[float]:
    values = [reward.value for reward in rewards_of(reply)]
    missing = [number for number, value in enumerate(values) if value is None]
    if missing:
        raise AskRefusedError(
            "unavailable", f"response {missing[0]}: no judgement", index=missing[0], retry_after_s=1.0
        )
    return [value for value in values if value is not None]


OPENRLHF = Route("/get_reward", read_openrlhf, write_openrlhf, takes_failures=True)
SLIME = Route("/rm", read_slime, write_slime, takes_failures=True)
VERL = Route("/classify", read_verl, write_verl, takes_failures=True)
NEMO = Route("/verify", read_nemo, write_nemo, takes_failures=True)
