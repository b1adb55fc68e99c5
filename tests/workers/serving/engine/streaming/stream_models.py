"""Random Stream models as real folders, and what transformers itself makes of a conversation with them.

The weights are random: labels mean nothing, but are as deterministic as any model's, and flip often.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import AutoTokenizer, Qwen3Config, Qwen3Model

from tests.workers.serving.engine.conftest import write_tokenizer
from workers.serving.engine.stream_guard import StreamGuard
from workers.serving.engine.streaming.session import Session
from workers.serving.engine.streaming.stream_model import STREAM_DEMO_FOLDER
from workers.serving.engine.streaming.verdicts import TokenVerdict

TEMPLATE = (STREAM_DEMO_FOLDER / "chat_template.jinja").read_text(encoding="utf-8")
CATEGORIES = ("Violent", "Sexual", "Self-Harm", "Political", "PII", "Copyright", "Illegal", "Unethical", "Jailbreak")
RISKS = ("Safe", "Unsafe", "Controversial")
SMALL = {
    "vocab_size": 610, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 1024, "initializer_range": 0.1,
}  # fmt: skip
SHAPE_06B = {
    "vocab_size": 610, "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 2,
    "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 8192,
}  # fmt: skip

Message = Mapping[str, object]


def numbered(labels: Sequence[str]) -> dict[str, str]:
    return {str(index): label for index, label in enumerate(labels)}


def write_stream_model(folder: Path, *, inner: int = 32, template: str = TEMPLATE, **shape: Any) -> Path:
    """A folder as the hub has it, with a mapping to remote code that is not there."""
    write_tokenizer(folder, template=template)
    torch.manual_seed(3)
    config = Qwen3Config(**{**SMALL, **shape}, rope_theta=1e6, tie_word_embeddings=True)
    network = Qwen3Model(config)
    for layer in network.layers:
        layer.self_attn.q_norm.weight.data.fill_(4.0)
    tensors = {f"model.{name}": tensor.contiguous() for name, tensor in network.state_dict().items()}
    for group, categories in (("", 8), ("query_", 9)):
        tensors[f"{group}risk_level_category_pre.weight"] = torch.randn(inner, config.hidden_size) * 0.3
        tensors[f"{group}risk_level_category_layernorm.weight"] = torch.rand(inner) + 0.5
        tensors[f"{group}risk_level_head.weight"] = torch.randn(3, inner) * 0.3
        tensors[f"{group}category_head.weight"] = torch.randn(categories, inner) * 0.3
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    own = {
        "architectures": ["Qwen3ForGuardModel"],
        "auto_map": {"AutoModel": "modeling_qwen3_guard.Qwen3ForGuardModel"},
        "dtype": "float32",
        "guard_inner_size": inner,
        "num_risk_level": 3,
        "num_category": 8,
        "num_query_risk_level": 3,
        "num_query_category": 9,
        "response_risk_level_map": numbered(RISKS),
        "response_category_map": numbered(CATEGORIES[:8]),
        "query_risk_level_map": numbered(RISKS),
        "query_category_map": numbered(CATEGORIES),
    }
    (folder / "config.json").write_text(json.dumps({**json.loads(config.to_json_string()), **own}))
    return folder


class Oracle:
    """One full forward of transformers in float32 over the whole conversation, and the heads by their formula."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        specification = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        self._plain = Tokenizer.from_str(json.dumps({**specification, "added_tokens": []}))
        self._network: Any = Qwen3Model.from_pretrained(folder, dtype=torch.float32).eval()
        self._tensors = load_file(folder / "model.safetensors")
        self._eps = json.loads((folder / "config.json").read_text(encoding="utf-8"))["rms_norm_eps"]

    def ids(self, question: str, answer: str) -> tuple[list[int], int, int]:
        """All ids, the position of the user's closing token, and of the answer's first token."""
        [turn] = [{"role": "user", "content": "PLACE"}]
        text = self._tokenizer.apply_chat_template(
            [turn], tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        assert text == "<|im_start|>user\nPLACE<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
        start, end = self._tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
        asked = [start, *self._plain.encode(f"user\n{question}").ids]
        scaffold = self._tokenizer.encode(text.split("<|im_end|>")[1], add_special_tokens=False)
        before = [*asked, end, *scaffold]
        return [*before, *self._plain.encode(answer).ids], len(asked), len(before)

    def log_probabilities(self, question: str, answer: str) -> list[dict[str, list[float]]]:
        """By token: of the user's closing one with the query heads, then of each of the answer's."""
        ids, asked_at, answer_at = self.ids(question, answer)
        with torch.inference_mode():
            hidden = self._network(torch.tensor([ids])).last_hidden_state[0]
            asked = self._heads(hidden[asked_at : asked_at + 1], "query_")
            return [*asked, *self._heads(hidden[answer_at:], "")]

    def _heads(self, hidden: torch.Tensor, group: str) -> list[dict[str, list[float]]]:
        pre, norm, risk, category = (
            self._tensors[f"{group}{name}.weight"]
            for name in ("risk_level_category_pre", "risk_level_category_layernorm", "risk_level_head", "category_head")
        )
        inner = hidden @ pre.T
        inner = inner * torch.rsqrt(inner.pow(2).mean(-1, keepdim=True) + self._eps) * norm
        logs = [functional.log_softmax(inner @ head.T, dim=-1).tolist() for head in (risk, category)]
        return [{"risk": one, "category": two} for one, two in zip(*logs, strict=True)]


def asked(question: str = "hello?") -> list[Message]:
    return [{"role": "user", "content": question}]


def settled(verdicts: Sequence[TokenVerdict]) -> list[TokenVerdict]:
    return [verdict for verdict in verdicts if not verdict.provisional]


def judged(guard: StreamGuard, messages: Sequence[Message], *deltas: str) -> list[TokenVerdict]:
    """What is settled of an answer that comes in these pieces, the last one final."""
    session = guard.open(messages)
    found = []
    for number, delta in enumerate(deltas, 1):
        [verdicts] = guard.push([(session, delta, number == len(deltas))])
        assert verdicts.error is None
        found += settled(verdicts)
    guard.close(session)
    return found


def pushed(guard: StreamGuard, session: Session, delta: str, *, final: bool = False) -> Any:
    """The list that one push alone gives."""
    [verdicts] = guard.push([(session, delta, final)])
    return verdicts
