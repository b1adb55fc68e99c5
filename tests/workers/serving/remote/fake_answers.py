"""What servers answer, in each of their forms, and what can be wrong in an answer.

What vLLM 0.32 says was measured; the others' forms were read in their sources.
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FINGERPRINT = "vllm-0.32.0-c32059ed"


@dataclass(frozen=True)
class Generated:
    """What the model writes about one prompt: ids with the end token, and all log-probabilities at each of them."""

    ids: list[int]
    text: str
    logprobs: Any
    finish: str = "stop"


class Answers:
    """Writes answers; see `FakeServer` for the attributes."""

    def __init__(
        self, generate: Callable[[Any], Generated], flavour: str, model: str, prompt_tokens: Callable[[str], int]
    ) -> None:
        self.generate = generate
        self.flavour = flavour
        self.model = model
        self.fingerprint = FINGERPRINT
        self.extra_tokens = 0  # that a chat's template would add
        self.judged: Counter[str] = Counter()
        self._prompt_tokens = prompt_tokens

    def prompts_of(self, body: Any) -> list[Any]:
        if self.flavour == "chat":
            return [json.dumps(body["messages"])]
        return list(body["input_ids" if self.flavour == "sglang" else "prompt"])

    def written(self, prompts: list[Any], body: Any) -> Any:
        if self.flavour == "sglang" and body["sampling_params"]["max_new_tokens"] == 0:
            return self._sglang_verifying(prompts, body)
        for prompt in prompts:
            self.judged[json.dumps(prompt)] += 1
        return getattr(self, f"_{self.flavour}")(prompts, [self.generate(_frozen(prompt)) for prompt in prompts], body)

    def _vllm(self, prompts: list[Any], written: list[Generated], body: Any) -> Any:
        choices = []
        for index, (prompt, item) in enumerate(zip(prompts, written, strict=True)):
            logprobs = None
            if "logprob_token_ids" in body:
                rows = [
                    {f"token_id:{token}": float(row[token]) for token in body["logprob_token_ids"]}
                    for row in item.logprobs
                ]
                logprobs = {"tokens": [], "token_logprobs": [], "text_offset": [], "top_logprobs": rows}
            choices.append(
                {
                    "index": index,
                    "text": item.text,
                    "logprobs": logprobs,
                    "finish_reason": item.finish,
                    "stop_reason": item.ids[-1],
                    "prompt_token_ids": prompt,
                    "token_ids": item.ids,
                }
            )
        read, output = sum(map(len, prompts)), sum(len(item.ids) for item in written)
        usage = {"prompt_tokens": read, "completion_tokens": output, "total_tokens": read + output}
        head = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": self.model}
        return {**head, "choices": choices, "system_fingerprint": self.fingerprint, "usage": usage}

    def _sglang_verifying(self, prompts: list[Any], body: Any) -> Any:
        """What a prefill of prompts and drafts tells: the likeliest token for each that is there."""
        items = []
        for request, ids, start in zip(body["rid"], prompts, body["logprob_start_len"], strict=True):
            written, draft = self.generate(tuple(ids[: start + 1])), ids[start + 1 :]
            # Behind the first token that differs, the likeliest is of no interest: any other than the draft's will do.
            same = next((k for k, token in enumerate(draft) if written.ids[k : k + 1] != [token]), len(draft))
            top = [*draft[:same], *written.ids[same : same + 1], *([0] * len(draft))][: len(draft)]
            meta: dict[str, Any] = {"id": request, "finish_reason": {"type": "length", "length": 0}}
            meta |= {"prompt_tokens": len(ids), "completion_tokens": 0, "weight_version": self.fingerprint}
            meta["input_token_logprobs"] = [[None, ids[start], None], *([-0.5, token, None] for token in draft)]
            meta["input_top_logprobs"] = [None, *([[-0.1, token, None]] for token in top)]
            if "token_ids_logprob" in body:
                rows = [written.logprobs[min(k, same, len(written.ids) - 1)] for k in range(len(draft))]
                labels = body["token_ids_logprob"]
                meta["input_token_ids_logprobs"] = [
                    None,
                    *([[float(row[token]), token, None] for token in labels] for row in rows),
                ]
            items.append({"text": "", "output_ids": [], "meta_info": meta})
        return items if len(items) > 1 else items[0]

    def _sglang(self, prompts: list[Any], written: list[Generated], body: Any) -> Any:
        items = []
        for request, prompt, item in zip(body["rid"], prompts, written, strict=True):
            finish: dict[str, Any] = {"type": item.finish}
            meta: dict[str, Any] = {"id": request, "finish_reason": finish, "prompt_tokens": len(prompt)}
            meta |= {"completion_tokens": len(item.ids), "cached_tokens": 0, "weight_version": self.fingerprint}
            if "token_ids_logprob" in body:
                meta["output_token_ids_logprobs"] = [
                    [[float(row[token]), token, None] for token in body["token_ids_logprob"]] for row in item.logprobs
                ]
            items.append({"text": item.text, "output_ids": item.ids, "meta_info": meta})
        return items if len(items) > 1 else items[0]

    def _llamacpp(self, prompts: list[Any], written: list[Generated], _: Any) -> Any:
        items = [
            {
                "index": index,
                "content": item.text,
                "tokens": item.ids,
                "model": self.model,
                "stop": True,
                "stop_type": "eos" if item.finish == "stop" else "limit",
                "tokens_predicted": len(item.ids),
                "tokens_evaluated": len(prompt),
                "truncated": False,
            }
            for index, (prompt, item) in enumerate(zip(prompts, written, strict=True))
        ]
        return items if len(items) > 1 else items[0]

    def _chat(self, prompts: list[Any], written: list[Generated], _: Any) -> Any:
        (prompt,), (item,) = prompts, written
        message = {"role": "assistant", "content": item.text}
        choices = [{"index": 0, "message": message, "finish_reason": item.finish}]
        usage = {"prompt_tokens": self._prompt_tokens(prompt) + self.extra_tokens, "completion_tokens": len(item.ids)}
        return {"object": "chat.completion", "model": self.model, "choices": choices, "usage": usage}


def spoilt(answer: Any, fault: str) -> Any:
    """An answer of vLLM's with one thing wrong in it."""
    if fault and fault != "cut":
        SPOILING[fault](answer)
    return answer


def _change(**changes: Any) -> Callable[[Any], None]:
    """Change fields of the first choice."""
    return lambda answer: answer["choices"][0].update(changes)


def _cut_ids(count: int, **changes: Any) -> Callable[[Any], None]:
    def cut(answer: Any) -> None:
        first = answer["choices"][0]
        first.update(token_ids=first["token_ids"][:-count], **changes)

    return cut


def _swap(answer: Any) -> None:
    choices = answer["choices"]
    choices[0]["index"], choices[-1]["index"] = choices[-1]["index"], choices[0]["index"]


def _no_number(answer: Any) -> None:
    row = answer["choices"][0]["logprobs"]["top_logprobs"][0]
    row.update(dict.fromkeys(row, float("nan")))


SPOILING: dict[str, Callable[[Any], object]] = {
    "too few": lambda answer: answer["choices"].pop(),
    "twice": lambda answer: answer["choices"][-1].update(index=len(answer["choices"])),
    "swapped": _swap,
    "other model": lambda answer: answer.update(model="another"),
    "other prompt": lambda answer: answer["usage"].update(prompt_tokens=answer["usage"]["prompt_tokens"] + 5),
    "other fingerprint": lambda answer: answer.update(system_fingerprint="vllm-0.33.0-0badc0de"),
    "null text": _change(text=None),
    "error": _change(finish_reason="error", token_ids=[]),
    "abort": _change(finish_reason="abort", token_ids=[]),
    "clamped": _cut_ids(3, finish_reason="length"),
    "no end": _cut_ids(1),
    "no ids": _change(token_ids=None),
    "nan": _no_number,
}


def _frozen(prompt: Any) -> Any:
    return prompt if isinstance(prompt, str) else tuple(prompt)
