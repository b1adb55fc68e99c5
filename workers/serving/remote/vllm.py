"""vLLM, and servers with its `/v1/completions`: lists of token ids in, token ids out (0.32 was read and run).

Every sampling value is sent, because the server takes those that are not from the model's generation config.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from workers.serving.engine.completion import PreparedPrompt
from workers.serving.remote.flavour import Flavour
from workers.serving.remote.written import Terms, Written, expect, written_of

_PREFIX = "token_id:"


class Vllm(Flavour):
    """See `Flavour`."""

    name: ClassVar[str] = "vllm"
    path: ClassVar[str] = "/v1/completions"
    health_path: ClassVar[str | None] = "/health"
    most_prompts: ClassVar[int | None] = None

    def __init__(self, terms: Terms) -> None:
        self._terms = terms

    def body(self, model: str, prompts: Sequence[PreparedPrompt]) -> dict[str, Any]:
        terms = self._terms
        body: dict[str, Any] = {
            "model": model,
            "prompt": [prompt.token_ids.tolist() for prompt in prompts],
            "max_tokens": terms.max_new_tokens,
            "temperature": 0,
            "top_p": 1,
            "top_k": -1,
            "min_p": 0,
            "repetition_penalty": 1,
            "presence_penalty": 0,
            "frequency_penalty": 0,
            "n": 1,
            "seed": 0,
            "stop_token_ids": list(terms.end_ids),
            "skip_special_tokens": False,
            "return_token_ids": True,
            "add_special_tokens": False,
        }
        if terms.label_ids:
            body |= {
                "logprobs": 1,
                "logprob_token_ids": list(dict.fromkeys(terms.label_ids)),
                "return_tokens_as_token_ids": True,
            }
        return body

    def read(
        self, answer: Any, asked: Mapping[str, Any], model: str, prompts: Sequence[PreparedPrompt]
    ) -> list[Written | None]:
        choices = answer["choices"]
        expect(len(choices) == len(prompts), "the number of answers")
        by_index = {choice["index"]: choice for choice in choices}
        expect(set(by_index) == set(range(len(prompts))), "the answers' indices")
        expect(answer["model"] == model, "the model's name")
        expect(answer["usage"]["prompt_tokens"] == sum(map(len, prompts)), "the number of prompt tokens")
        found = []
        for index, ids in enumerate(asked["prompt"]):
            choice = by_index[index]
            # Newer servers repeat the prompt. A count alone does not tell two prompts of one length apart.
            expect(choice.get("prompt_token_ids") in (None, ids), "the prompt")
            found.append(self._written(choice))
        return found

    def fingerprint(self, answer: Any) -> str | None:
        return answer.get("system_fingerprint") if isinstance(answer, dict) else None

    def _written(self, choice: Mapping[str, Any]) -> Written | None:
        finish = choice["finish_reason"]
        if finish not in ("stop", "length") or choice["text"] is None:
            return None
        rows = None
        if self._terms.label_ids:
            rows = [
                {int(name.removeprefix(_PREFIX)): value for name, value in row.items()}
                for row in choice["logprobs"]["top_logprobs"]
            ]
        return written_of(choice["token_ids"], finished=finish == "stop", rows=rows, terms=self._terms)
