"""Models and prompts of the guard's real shapes for benchmarks: random weights, synthetic tokens, real counts.

Knows nothing of clocks or reports.
"""

import random
import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from workers.serving.engine.completion import PreparedPrompt, Task
from workers.serving.engine.forward.delegating import DelegatingForward, Forward
from workers.serving.engine.forward.kept_cache import KeptCache, PrefixCache
from workers.serving.engine.loading import LoadedModel
from workers.serving.engine.passes import PassLimits
from workers.serving.engine.verdict_decoder import VerdictDecoder
from workers.serving.engine.verdict_draft import VerdictDrafts
from workers.serving.engine.verdict_format import QWEN3GUARD_GEN

SHAPES: Final[dict[str, dict[str, int]]] = {
    "0.6B": {"num_hidden_layers": 28, "hidden_size": 1024, "intermediate_size": 3072, "num_attention_heads": 16},
    "4B": {"num_hidden_layers": 36, "hidden_size": 2560, "intermediate_size": 9728, "num_attention_heads": 32},
    "8B": {"num_hidden_layers": 36, "hidden_size": 4096, "intermediate_size": 12288, "num_attention_heads": 32},
}
VOCABULARY: Final = 151_936
END: Final = 151_645
# Fixed tokens before and after the conversation; a response also has 4 between its two messages.
FRAMES: Final[dict[Task, tuple[int, int]]] = {"prompt": (201, 95), "response": (267, 118)}
# "Safety: Safe\nCategories: None" and its end token; a response has a third line.
VERDICT_TOKENS: Final[dict[Task, int]] = {"prompt": 8, "response": 13}
# Of the assistant's message, where that is judged.
REPLY_TOKENS: Final = 10
# A message's tokens come with one more, its line end's.
_LINE_END: Final = 1
# A verdict's tokens as the real tokenizer cuts them, a label that no draft shares aside: that is one.
_PIECES: Final = re.compile(r"\n|Safety|Categories|Ref|usal|:| Con|trov|ersial| [^\n]+")
_FIRST_ID: Final = 100_000  # of a verdict's tokens; no prompt has any of them
_CERTAIN: Final = 1e4  # far above every logit of random weights


def config_of(shape: str) -> Qwen3Config:
    """The configuration of the guard's model "0.6B", "4B" or "8B"."""
    return Qwen3Config(
        **SHAPES[shape],
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=VOCABULARY,
        max_position_embeddings=32_768,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=shape == "0.6B",
    )


def random_guard(shape: str, *, device: torch.device, dtype: torch.dtype) -> Any:
    """A Qwen3 of the shape "0.6B", "4B" or "8B" with random weights; takes seconds, not the minutes of a real draw."""
    config = config_of(shape)
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


class VerdictTokens:
    """Ids of verdicts, of as many tokens as the real ones.

    An id stands for all that is written up to it, so that what follows can be told from one token alone.
    """

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def ids(self, text: str) -> list[int]:
        """Of a verdict, without the end token."""
        written = accumulate(_PIECES.findall(text))
        return [self._known.setdefault(prefix, _FIRST_ID + len(self._known)) for prefix in written]


class ScriptedForward(DelegatingForward):
    """Runs every pass in full, then replaces its logits by scripted ones, because random weights write no verdicts.

    A prompt's answer is the Safe verdict, or, for a share of 1 - `accepted` of the prompts, an Unsafe one. Prompts are
    told apart by the first token after what all of them share.
    """

    def __init__(
        self, forward: Forward, prompts: Sequence[PreparedPrompt], tokens: VerdictTokens, *, accepted: float
    ) -> None:
        super().__init__(forward)
        task = prompts[0].task
        ending = "\nRefusal: No" if task == "response" else ""
        safe, other = (
            [*tokens.ids(f"Safety: {verdict}{ending}"), END]
            for verdict in ("Safe\nCategories: None", "Unsafe\nCategories: Violent")
        )
        following = torch.full((VOCABULARY,), safe[0])
        for verdict in (other, safe):
            following[verdict[:-1]] = torch.tensor(verdict[1:])
        label = next(index for index, (one, two) in enumerate(zip(safe, other, strict=True)) if one != two)
        refused = torch.zeros(VOCABULARY, dtype=torch.bool)
        chooser = random.Random(5)
        own = FRAMES[task][0]
        refused[[int(prompt.token_ids[own]) for prompt in prompts if chooser.random() >= accepted]] = True
        self._following, self._refused = following.to(forward.device), refused.to(forward.device)
        self._before_label, self._other_label = safe[label - 1], other[label]
        self._begun: torch.Tensor | None = None  # which rows' drafts are refused, until the first choice is made

    def start(
        self, ids: torch.Tensor, prefix: PrefixCache, positions: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, KeptCache]:
        logits, cache = super().start(ids, prefix, positions)
        self._begun = self._refused[ids[:, 0]]
        return self._scripted(logits, ids, positions), cache

    def resume(
        self,
        ids: torch.Tensor,
        filled: torch.Tensor,
        prefix: PrefixCache,
        cache: KeptCache,
        positions: torch.Tensor | None,
    ) -> torch.Tensor | None:
        return self._scripted(super().resume(ids, filled, prefix, cache, positions), ids, positions)

    def _scripted(
        self, logits: torch.Tensor | None, ids: torch.Tensor, positions: torch.Tensor | None
    ) -> torch.Tensor | None:
        if logits is None or positions is None:
            return logits
        before = ids.gather(1, positions)
        chosen = self._following[before]
        if self._begun is not None:
            is_other = self._begun[:, None] & (before == self._before_label)
            chosen = torch.where(is_other, self._other_label, chosen)
            self._begun = None
        # Not `scatter_`, which copies all of the logits on a CPU.
        rows, places = (torch.arange(count, device=ids.device) for count in chosen.shape)
        logits[rows[:, None], places, chosen] = _CERTAIN
        return logits


def scripted_decoder(
    forward: Forward,
    prompts: Sequence[PreparedPrompt],
    limits: PassLimits,
    *,
    accepted: float,
    batch_invariant: bool = False,
) -> VerdictDecoder:
    """A decoder of these prompts on random weights; see `ScriptedForward`."""
    tokens = VerdictTokens()
    return VerdictDecoder(
        ScriptedForward(forward, prompts, tokens, accepted=accepted),
        [prompts[0].token_ids[: FRAMES[prompts[0].task][0]]],
        VerdictDrafts(tokens.ids, QWEN3GUARD_GEN.texts, adapts=False),
        end_ids={END},
        max_new_tokens=128,
        limits=limits,
        batch_invariant=batch_invariant,
    )
