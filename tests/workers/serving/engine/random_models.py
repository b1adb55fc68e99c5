"""Random models of the guard's shape with a few layers, and what transformers itself makes of a prompt with them."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, DynamicCache, Qwen3Config, Qwen3ForCausalLM

from workers.serving.engine.completion import PreparedPrompt, Task
from workers.serving.engine.loading import LoadedModel

SHAPES: dict[str, dict[str, int]] = {
    "0.6B": {"hidden_size": 1024, "intermediate_size": 3072, "num_attention_heads": 16},
    "4B": {"hidden_size": 2560, "intermediate_size": 9728, "num_attention_heads": 32},
    "8B": {"hidden_size": 4096, "intermediate_size": 12288, "num_attention_heads": 32},
}


class OneDraft:
    """One draft for all: right for the prompts whose answer it is, wrong for the others."""

    def __init__(self, draft: Sequence[int]) -> None:
        self._draft = list(draft)

    def after(self, task: Task, written: Sequence[int]) -> list[int]:
        del task
        return self._draft[len(written) :] if list(written) == self._draft[: len(written)] else []

    def note(self, task: Task, answer: Sequence[int]) -> None:
        del task, answer


def random_model(shape: str, *, layers: int, dtype: torch.dtype, vocabulary: int) -> Any:
    """Real widths, head counts and positions; the larger shapes have a head of their own."""
    torch.manual_seed(11)
    config = config_of(shape, layers=layers, vocabulary=vocabulary)
    return Qwen3ForCausalLM(config).to(dtype).train(False).requires_grad_(False)


def config_of(shape: str, *, layers: int, vocabulary: int) -> Qwen3Config:
    """What such a model is made from."""
    return Qwen3Config(
        **SHAPES[shape],
        num_hidden_layers=layers,
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=vocabulary,
        max_position_embeddings=32_768,
        tie_word_embeddings=shape == "0.6B",
    )


def as_loaded(model: Any, tokenizer_folder: Path, *, end_ids: Collection[int] = (602, 600)) -> LoadedModel:
    """A model made in memory as if it had been loaded."""
    return LoadedModel(
        name="random",
        revision="none",
        tokenizer=AutoTokenizer.from_pretrained(tokenizer_folder),
        model=model,
        device=model.device,
        dtype=model.dtype,
        end_ids=frozenset(end_ids),
        max_positions=model.config.max_position_embeddings,
    )


def prompt_of(ids: Sequence[int], task: Task = "prompt") -> PreparedPrompt:
    return PreparedPrompt(np.array(ids, dtype=np.int64), task)


def full_logits(model: Any, prompt: Sequence[int], answer: Sequence[int]) -> torch.Tensor:
    """The logits from which each token of `answer` would be chosen, by transformers' forward of everything at once."""
    ids = torch.tensor([[*prompt, *answer]], device=model.device)
    with torch.inference_mode():
        logits: torch.Tensor = model(ids, logits_to_keep=len(answer) + 1).logits[0, :-1]
    return logits


def prefix_cached_logits(model: Any, prompt: Sequence[int], answer: Sequence[int], prefix: int) -> torch.Tensor:
    """The same by transformers' own cache: its first `prefix` tokens in one forward, the rest in another."""
    cache = DynamicCache(config=model.config)
    rest = torch.tensor([[*prompt[prefix:], *answer]], device=model.device)
    with torch.inference_mode():
        model(torch.tensor([[*prompt[:prefix]]], device=model.device), past_key_values=cache, use_cache=True)
        logits: torch.Tensor = model(rest, past_key_values=cache, logits_to_keep=len(answer) + 1).logits[0, :-1]
    return logits


def greedy(model: Any, prompt: Sequence[int], *, new_tokens: int, end_ids: Collection[int]) -> list[int]:
    """What `generate` writes after `prompt`, alone."""
    output = model.generate(
        torch.tensor([[*prompt]], device=model.device),
        do_sample=False,
        max_new_tokens=new_tokens,
        eos_token_id=sorted(end_ids),
        pad_token_id=min(end_ids),
    )
    ids: list[int] = output[0, len(prompt) :].tolist()
    return ids
