"""SGLang, asked to verify a drafted verdict: prompt and draft in one prefill, of which the prompt's start is cached.

`logprob_start_len` is what makes it cheap: the cached prefix is used up to there, and the likeliest token is told for
each one behind it. Where the model would have written the draft, that is the verdict; else it is generated as usual.
Read in SGLang's source (0.5.23) and held against a stand-in for it; not run on a GPU.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workers.serving.engine.completion import DraftCounts, PreparedPrompt, Task
from workers.serving.engine.verdict_draft import VerdictDrafts
from workers.serving.engine.verdict_format import QWEN3GUARD_GEN
from workers.serving.remote.sglang import SGLang
from workers.serving.remote.written import Terms, Written, expect, written_of


class SGLangDrafts(SGLang):
    """See `Flavour`; None is what the model would not have written as drafted, or not with numbers.

    Args:
        terms: what is asked.
        encode: makes token ids of a text.
        end_id: the end token that is drafted.
    """

    def __init__(self, terms: Terms, encode: Callable[[str], Sequence[int]], end_id: int) -> None:
        super().__init__(terms)
        self._drafts = VerdictDrafts(encode, QWEN3GUARD_GEN.texts)
        self._end_id = end_id
        self.counts = DraftCounts()

    def body(self, model: str, prompts: Sequence[PreparedPrompt]) -> dict[str, Any]:
        body = super().body(model, prompts)
        drafts = [[*self._drafts.after(prompt.task, ()), self._end_id] for prompt in prompts]
        return {
            **body,
            "input_ids": [ids + draft for ids, draft in zip(body["input_ids"], drafts, strict=True)],
            "sampling_params": {**body["sampling_params"], "max_new_tokens": 0},
            "return_logprob": True,
            # The row of the prompt's last token is the first; it holds nothing.
            "logprob_start_len": [len(prompt) - 1 for prompt in prompts],
            "top_logprobs_num": 1,
        }

    def read(
        self, answer: Any, asked: Mapping[str, Any], model: str, prompts: Sequence[PreparedPrompt]
    ) -> list[Written | None]:
        del model  # its answers have no name
        items = answer if isinstance(answer, list) else [answer]
        by_id = {item["meta_info"]["id"]: item["meta_info"] for item in items}
        expect(len(items) == len(prompts) and set(by_id) == set(asked["rid"]), "the answers' ids")
        return [
            self._verified(by_id[request], ids, len(prompt))
            for request, ids, prompt in zip(asked["rid"], asked["input_ids"], prompts, strict=True)
        ]

    def note(self, task: Task, written: Written) -> None:
        """Learn from what was written, so that the next draft is likelier."""
        if written.finished:
            self._drafts.note(task, written.token_ids[:-1])

    def _verified(self, meta: Mapping[str, Any], ids: Sequence[int], start: int) -> Written | None:
        if (meta["finish_reason"] or {}).get("type") == "abort":
            return None
        draft = list(ids[start:])
        expect(meta["prompt_tokens"] == len(ids), "the number of prompt tokens")
        # What stands there is said again, so that a row too many or too few is found out.
        expect([token for _, token, *_ in meta["input_token_logprobs"]] == list(ids[start - 1 :]), "the draft's tokens")
        likeliest = [row[0][1] for row in meta["input_top_logprobs"][1:]]
        expect(len(likeliest) == len(draft), "the draft's tokens")
        agreed = next((k for k, token in enumerate(draft) if likeliest[k] != token), len(draft))
        self.counts.drafted += len(draft)
        self.counts.accepted += agreed
        if agreed < len(draft):
            return None
        rows = None
        if self._terms.label_ids:
            rows = [{token: value for value, token, *_ in row} for row in meta["input_token_ids_logprobs"][1:]]
        return written_of(draft, finished=True, rows=rows, terms=self._terms)
