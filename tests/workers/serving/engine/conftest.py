"""A tiny random Qwen3 with its own small tokenizer and a look-alike of the guard's chat template, made on the spot.

The weights are random: what it writes means nothing, but is as deterministic as any model's.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen3Config, Qwen3ForCausalLM

from workers.serving.engine.prompt import PromptBuilder

TEMPLATE = (Path(__file__).parent / "guard_template.jinja").read_text()
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|image_pad|>"]
PLAIN_ADDED_TOKENS = ["<tool_call>", "</tool_call>", "<|fim_prefix|>", "<think>", "</think>"]
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TRAINING_TEXT = [TEMPLATE, "the quick brown fox says hello world ?! 你好世界 こんにちは 한국어 éüß अ ابج 😀" * 3]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def write_tokenizer(folder: Path, *, template: str | None = TEMPLATE) -> None:
    """A byte-level BPE tokenizer with Qwen's pre-tokenizer, NFC, and added tokens with Qwen's flags."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(TRAINING_TEXT, trainer)
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(text, normalized=False, special=False) for text in PLAIN_ADDED_TOKENS])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(config | ({"chat_template": template} if template else {}))
    )


def write_model(folder: Path, *, eos_token_id: int | list[int], **changes: Any) -> None:
    """Random weights, and the sampling settings that real checkpoints ship."""
    torch.manual_seed(7)
    settings: dict[str, Any] = {"vocab_size": 610, "hidden_size": 64, "intermediate_size": 128}
    settings |= {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    settings |= {"max_position_embeddings": 1024, "tie_word_embeddings": True, "initializer_range": 0.1} | changes
    model = Qwen3ForCausalLM(Qwen3Config(**settings))
    for layer in model.model.layers:
        # Attention that picks tokens out, instead of averaging over them: answers that depend on the message.
        layer.self_attn.q_norm.weight.data.fill_(4.0)
    config: Any = model.generation_config
    config.update(do_sample=True, temperature=0.6, top_k=20, top_p=0.95, eos_token_id=eos_token_id, pad_token_id=600)
    model.save_pretrained(folder)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a hub snapshot has it."""
    folder = tmp_path_factory.mktemp("tiny_qwen3")
    write_tokenizer(folder)
    write_model(folder, eos_token_id=[602, 600])
    return folder


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Makes a model folder that differs from `model_folder` in the template, the end tokens or the model's config."""

    def make(*, template: str | None = TEMPLATE, eos_token_id: int | list[int] = 602, **changes: Any) -> Path:
        write_tokenizer(tmp_path / "model", template=template)
        write_model(tmp_path / "model", eos_token_id=eos_token_id, **changes)
        return tmp_path / "model"

    return make


@pytest.fixture(scope="session")
def tokenizer(model_folder: Path) -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model_folder)
    return loaded


@pytest.fixture(scope="session")
def builder(tokenizer: PreTrainedTokenizerBase) -> PromptBuilder:
    return PromptBuilder(tokenizer)
