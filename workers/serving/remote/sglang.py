"""SGLang's own `/generate`: lists of token ids in, token ids out (0.5.23 was read, not run).

Every sampling value is sent, because the server takes those that are not from the model's generation config.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from uuid import uuid4

from workers.serving.engine.completion import PreparedPrompt
from workers.serving.remote.flavour import Flavour
from workers.serving.remote.written import Terms, Written, expect, written_of


class SGLang(Flavour):
    """See `Flavour`."""

    name: ClassVar[str] = "sglang"
    path: ClassVar[str] = "/generate"
    health_path: ClassVar[str | None] = "/health"
    most_prompts: ClassVar[int | None] = None

    def __init__(self, terms: Terms) -> None:
        self._terms = terms

    def body(self, model: str, prompts: Sequence[PreparedPrompt]) -> dict[str, Any]:  # noqa: ARG002 - it serves one model
        terms = self._terms
        body: dict[str, Any] = {
            "input_ids": [prompt.token_ids.tolist() for prompt in prompts],
            "sampling_params": {
                "max_new_tokens": terms.max_new_tokens,
                "temperature": 0,
                "top_p": 1,
                "top_k": -1,
                "min_p": 0,
                "repetition_penalty": 1,
                "stop_token_ids": list(terms.end_ids),
                "skip_special_tokens": False,
                "no_stop_trim": True,
                "sampling_seed": 0,
            },
            "rid": [uuid4().hex for _ in prompts],
        }
        if terms.label_ids:
            body |= {
                "return_logprob": True,
                "logprob_start_len": -1,
                "token_ids_logprob": list(dict.fromkeys(terms.label_ids)),
            }
        return body

    def read(
        self,
        answer: Any,
        asked: Mapping[str, Any],
        model: str,  # noqa: ARG002 - its answers have no name
        prompts: Sequence[PreparedPrompt],
    ) -> list[Written | None]:
        items = answer if isinstance(answer, list) else [answer]
        expect(len(items) == len(prompts), "the number of answers")
        by_id = {item["meta_info"]["id"]: item for item in items}
        expect(set(by_id) == set(asked["rid"]), "the answers' ids")
        found = []
        for request, prompt in zip(asked["rid"], prompts, strict=True):
            item = by_id[request]
            # Before what failed it: such an answer has no count of its own.
            written = self._written(item)
            if written is not None:
                expect(item["meta_info"]["prompt_tokens"] == len(prompt), "the number of prompt tokens")
            found.append(written)
        return found

    def fingerprint(self, answer: Any) -> str | None:
        items = answer if isinstance(answer, list) else [answer]
        versions = {item["meta_info"].get("weight_version") for item in items if isinstance(item, dict)}
        return ",".join(sorted(map(str, versions - {None}))) or None

    def _written(self, item: Mapping[str, Any]) -> Written | None:
        finish = (item["meta_info"]["finish_reason"] or {}).get("type")
        if finish not in ("stop", "length"):
            return None
        rows = None
        if self._terms.label_ids:
            rows = [
                {token: value for value, token, *_ in row} for row in item["meta_info"]["output_token_ids_logprobs"]
            ]
        return written_of(item["output_ids"], finished=finish == "stop", rows=rows, terms=self._terms)
