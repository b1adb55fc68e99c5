"""Models and prompts of the guard's real shapes for benchmarks: random weights, synthetic tokens, real counts.

Knows nothing of clocks or reports.
"""

import random
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from workers.serving.engine.completion import PreparedPrompt, Task
from workers.serving.engine.loading import LoadedModel
from workers.serving.engine.passes import PassLimits
from workers.serving.engine.suffix_forward import SuffixForward
from workers.serving.engine.verdict_decoder import Answer, VerdictDecoder
from workers.serving.engine.verdict_draft import VerdictDrafts

SHAPES: Final[dict[str, dict[str, int]]] = {
    "0.6B": {"num_hidden_layers": 28, "hidden_size": 1024, "intermediate_size": 3072, "num_attention_heads": 16},
    "4B": {"num_hidden_layers": 36, "hidden_size": 2560, "intermediate_size": 9728, "num_attention_heads": 32},
    "8B": {"num_hidden_layers": 36, "hidden_size": 4096, "intermediate_size": 12288, "num_attention_heads": 32},
}
VOCABULARY: Final = 151_936
END: Final = 151_645
# Fixed tokens before and after the conversation (infra/docs/model.md); a response also has 4 between its two messages.
FRAMES: Final[dict[Task, tuple[int, int]]] = {"prompt": (201, 95), "response": (267, 118)}
# "Safety: Safe\nCategories: None" and its end token; a response has a third line.
VERDICT_TOKENS: Final[dict[Task, int]] = {"prompt": 8, "response": 13}
# Of the assistant's message, where that is judged.
REPLY_TOKENS: Final = 10
# A message's tokens come with one more, its line end's.
_LINE_END: Final = 1
# First and only tokens of the real tokenizer; other words get ids that no draft shares.
_WORDS: Final = {"Safety:": [73037, 25], "Categories:": [20970, 25], "Refusal:": [3945, 35414, 25], "\n": [198]}
_LABELS: Final = {"Safe": [22291], "Unsafe": [73067], "Controversial": [2093, 12563, 530], "None": [2240], "No": [2308]}


def random_guard(shape: str, *, device: torch.device, dtype: torch.dtype) -> Any:
    """A Qwen3 of the shape "0.6B", "4B" or "8B" with random weights; takes seconds, not the minutes of a real draw."""
    config = Qwen3Config(
        **SHAPES[shape],
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=VOCABULARY,
        max_position_embeddings=32_768,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=shape == "0.6B",
    )
    with torch.device("meta"):
        network: Any = Qwen3ForCausalLM(config).to(dtype)
    network = network.to_empty(device=device).train(False).requires_grad_(False)
    network.tie_weights()
    network.model.rotary_emb = type(network.model.rotary_emb)(config).to(device)
    drawn = torch.randn(1 << 20, generator=torch.Generator().manual_seed(1)).mul_(0.02).to(device, dtype)
    for name, parameter in network.named_parameters():
        if name.endswith("norm.weight"):
            parameter.fill_(1)
        else:
            flat = parameter.view(-1)
            for start in range(0, len(flat), len(drawn)):
                # Rolled, so that no two rows of a matrix are the same.
                part = flat[start : start + len(drawn)]
                part.copy_(drawn.roll(start // len(drawn) * 4099)[: len(part)])
    return network


def as_loaded(network: Any, name: str) -> LoadedModel:
    """The model with a tokenizer that can only show ids, for engines that ask for one."""
    letters = {letter: code for code, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(letters, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>")
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    return LoadedModel(
        name=name,
        revision="random",
        tokenizer=tokenizer,
        model=network,
        device=network.device,
        dtype=network.dtype,
        end_ids=frozenset({END}),
        max_positions=network.config.max_position_embeddings,
    )


def random_prompts(task: Task, lengths: Sequence[int]) -> list[PreparedPrompt]:
    """Prompts of messages of the given lengths in tokens."""
    chooser = np.random.default_rng(3)
    before, after = (chooser.integers(1000, 70_000, size) for size in FRAMES[task])
    between = 4 + _LINE_END + REPLY_TOKENS if task == "response" else 0
    prompts = []
    for length in lengths:
        message = chooser.integers(1000, 70_000, length + _LINE_END + between)
        prompts.append(PreparedPrompt(np.concatenate([before, message, after]), task))
    return prompts


def message_lengths(count: int, *, mean: int, mixed: bool) -> list[int]:
    """Tokens per message: all `mean`, or spread as chat is: most are short, a few are long."""
    if not mixed:
        return [mean] * count
    chooser = random.Random(7)
    return [1 + int(chooser.expovariate(1 / max(mean - 0.5, 0.5))) for _ in range(count)]


def words_to_ids(text: str) -> list[int]:
    """Token ids of a verdict, as many as the real tokenizer makes where that matters."""
    ids = []
    for line_number, line in enumerate(text.split("\n")):
        lead, label = line.split(" ", 1)
        ids += [*(_WORDS["\n"] if line_number else []), *_WORDS[lead]]
        ids += _LABELS.get(label) or [100_000 + sum(map(ord, label))]
    return ids


class ScriptedDecoder(VerdictDecoder):
    """Runs every pass as it is, and then takes the model's word from a script: random weights write no verdicts.

    A prompt's answer is the Safe verdict, or, for a share of 1 - `accepted` of the prompts, an Unsafe one.
    """

    def __init__(
        self, forward: SuffixForward, prompts: Sequence[PreparedPrompt], limits: PassLimits, *, accepted: float
    ) -> None:
        task = prompts[0].task
        super().__init__(
            forward,
            [prompts[0].token_ids[: FRAMES[task][0]]],
            VerdictDrafts(words_to_ids, adapts=False),
            end_ids={END},
            max_new_tokens=128,
            limits=limits,
        )
        ending = "\nRefusal: No" if task == "response" else ""
        safe = [*words_to_ids(f"Safety: Safe\nCategories: None{ending}"), END]
        other = [*words_to_ids(f"Safety: Unsafe\nCategories: Violent{ending}"), END]
        chooser = random.Random(5)
        self._script = {id(prompt): safe if chooser.random() < accepted else other for prompt in prompts}

    def chosen(self, prompt: PreparedPrompt, answer: Answer, ids: list[int]) -> list[int]:
        return self._script[id(prompt)][len(answer.ids) :][: len(ids)]
