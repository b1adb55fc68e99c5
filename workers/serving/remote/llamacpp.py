"""llama.cpp's server: `/completion` with lists of token ids (b11434 was read, not run).

No scores: it gives the likeliest tokens only, and a label need not be among them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from workers.serving.engine.completion import PreparedPrompt
from workers.serving.remote.flavour import Flavour
from workers.serving.remote.written import Terms, Written, expect, written_of


class LlamaCpp(Flavour):
    """See `Flavour`."""

    name: ClassVar[str] = "llamacpp"
    path: ClassVar[str] = "/completion"
    health_path: ClassVar[str | None] = "/health"
    most_prompts: ClassVar[int | None] = None

    def __init__(self, terms: Terms) -> None:
        self._terms = terms

    def max_tokens(self, listed: Any) -> int | None:
        meta = listed.get("meta")  # older builds say nothing of it there
        most = meta.get("n_ctx") if isinstance(meta, dict) else None  # of a slot; an answer that fills it is truncated
        return most - 1 if isinstance(most, int) else None

    def body(self, model: str, prompts: Sequence[PreparedPrompt]) -> dict[str, Any]:
        return {
            "model": model,
            "prompt": [prompt.token_ids.tolist() for prompt in prompts],
            "n_predict": self._terms.max_new_tokens,
            "temperature": 0,
            "top_p": 1,
            "top_k": 0,
            "min_p": 0,
            "repeat_penalty": 1,
            "presence_penalty": 0,
            "frequency_penalty": 0,
            "seed": 0,
            "stop": [],
            "stream": False,
            "return_tokens": True,
            "cache_prompt": False,  # by its own note not deterministic
        }

    def read(
        self,
        answer: Any,
        asked: Mapping[str, Any],  # noqa: ARG002 - its answers are told apart by their index
        model: str,
        prompts: Sequence[PreparedPrompt],
    ) -> list[Written | None]:
        items = answer if isinstance(answer, list) else [answer]
        expect(len(items) == len(prompts), "the number of answers")
        by_index = {item["index"]: item for item in items}
        expect(set(by_index) == set(range(len(prompts))), "the answers' indices")
        found = []
        for index, prompt in enumerate(prompts):
            item = by_index[index]
            expect(item["model"] == model, "the model's name")
            expect(item["tokens_evaluated"] == len(prompt) and not item["truncated"], "the number of prompt tokens")
            found.append(self._written(item))
        return found

    def _written(self, item: Mapping[str, Any]) -> Written | None:
        finish = item["stop_type"]
        if finish not in ("eos", "limit"):
            return None
        return written_of(item["tokens"], finished=finish == "eos", rows=None, terms=self._terms)
