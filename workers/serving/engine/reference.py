"""The plain engine: transformers' own batched greedy generation, and the oracle of P13.

Knows nothing of the verdict grammar, of prefixes shared between prompts, or of how batches are gathered.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, cast

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from workers.serving.engine.completion import (
    NON_FINITE_LOGITS,
    Completion,
    Conversation,
    Engine,
    EngineIdentity,
    PreparedPrompt,
)
from workers.serving.engine.loading import LoadedModel, load_model
from workers.serving.engine.output import completion_of
from workers.serving.engine.passes import run_in_halves
from workers.serving.engine.prompt import PromptBuilder

# One long prompt must not make its whole batch as long as itself: about 4 GB of keys and values at the 0.6B shape.
_PADDED_TOKENS_PER_PASS: Final = 32_768


class ReferenceEngine(Engine):
    """Judges with `generate(do_sample=False)`; see `Engine` for the contract. Built by `load`.

    Greedy means the plain argmax: the sampling settings and penalties of a shipped generation config are not used.
    `scores` is always None.
    """

    def __init__(self, loaded: LoadedModel, *, max_new_tokens: int = 128, max_prompt_tokens: int | None = None) -> None:
        limit = loaded.max_positions - max_new_tokens
        if limit < 1:
            raise ValueError(f"max_new_tokens {max_new_tokens} leaves no room in a context of {loaded.max_positions}")
        self._loaded = loaded
        self._generate = cast(Callable[..., torch.Tensor], loaded.model.generate)
        self._builder = PromptBuilder(loaded.tokenizer, max_tokens=min(limit, max_prompt_tokens or limit))
        end_ids = sorted(loaded.end_ids)
        self._plain_greedy = GenerationConfig(
            do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=end_ids, pad_token_id=end_ids[0]
        )
        # `generate` fills what a given config leaves open from the model's own, so that one must be as plain.
        loaded.model.generation_config = self._plain_greedy
        self._identity = loaded.identity("reference", self._builder.sha256)

    @classmethod
    def load(
        cls,
        model: str,
        *,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        max_new_tokens: int = 128,
        max_prompt_tokens: int | None = None,
    ) -> "ReferenceEngine":
        """Load a hub name, a folder or "demo"; lengths are in tokens. Raises ValueError for wrong settings."""
        loaded = load_model(model, revision=revision, device=device, dtype=dtype)
        return cls(loaded, max_new_tokens=max_new_tokens, max_prompt_tokens=max_prompt_tokens)

    @property
    def identity(self) -> EngineIdentity:
        return self._identity

    @property
    def template_text(self) -> tuple[str, ...]:
        return self._builder.template_text()

    def prepare(self, conversation: Conversation) -> PreparedPrompt | Completion:
        return self._builder.prepare(conversation)

    def prepare_all(self, conversations: Sequence[Conversation]) -> list[PreparedPrompt | Completion]:
        return self._builder.prepare_all(conversations)

    def run(self, prompts: Sequence[PreparedPrompt]) -> list[Completion]:
        completions: dict[int, Completion] = {}
        for indices in _passes(prompts):
            batch = [prompts[index] for index in indices]
            completions.update(zip(indices, run_in_halves(self._answer, batch), strict=True))
        return [completions[index] for index in range(len(prompts))]

    def _answer(self, batch: Sequence[PreparedPrompt]) -> list[Completion]:
        width = max(map(len, batch))
        ids = torch.full((len(batch), width), self._plain_greedy.pad_token_id, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(batch):
            ids[row, width - len(prompt) :] = torch.tensor(prompt.token_ids)
            mask[row, width - len(prompt) :] = 1
        watch = _FiniteWatch()
        with torch.inference_mode():
            output = self._generate(
                input_ids=ids.to(self._loaded.device),
                attention_mask=mask.to(self._loaded.device),
                generation_config=self._plain_greedy,
                logits_processor=LogitsProcessorList([watch]),
            )
        answers = output[:, width:].tolist()
        return [
            self._judgement(prompt, answer, finite)
            for prompt, answer, finite in zip(batch, answers, watch.finite(), strict=True)
        ]

    def _judgement(self, prompt: PreparedPrompt, answer: list[int], finite: list[bool]) -> Completion:
        completion = completion_of(
            answer,
            end_ids=self._loaded.end_ids,
            tokenizer=self._loaded.tokenizer.backend_tokenizer,
            prompt_tokens=len(prompt),
        )
        # What was generated after its end, while the batch went on, does not belong to this answer.
        if all(finite[: completion.output_tokens]):
            return completion
        return Completion.failed(NON_FINITE_LOGITS, prompt_tokens=len(prompt))


class _FiniteWatch(LogitsProcessor):
    """Notes for each row and step whether all logits are finite; changes nothing, and copies nothing to the host."""

    def __init__(self) -> None:
        self._steps: list[torch.Tensor] = []

    def __call__(self, _input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self._steps.append(scores.isfinite().all(dim=-1))
        return scores

    def finite(self) -> list[list[bool]]:
        """By row, then by step."""
        rows: list[list[bool]] = torch.stack(self._steps, dim=1).tolist()
        return rows


def _passes(prompts: Sequence[PreparedPrompt]) -> Iterator[list[int]]:
    """The prompts' indices, shortest first, cut such that no pass is longer than its bound when padded."""
    indices: list[int] = []
    for index in sorted(range(len(prompts)), key=lambda index: len(prompts[index])):
        if indices and (len(indices) + 1) * len(prompts[index]) > _PADDED_TOKENS_PER_PASS:
            yield indices
            indices = []
        indices.append(index)
    if indices:
        yield indices
