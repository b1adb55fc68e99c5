"""The eight tensors that make a Qwen3 a Qwen3Guard-Stream, and the labels that they stand for.

Knows nothing of sessions or text.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import torch
from torch.nn import functional

from workers.serving.engine.streaming.verdicts import RISKS

# By name; read one at a time, so that a backbone of gigabytes is not read for eight small tensors.
ReadTensor: TypeAlias = Callable[[str], torch.Tensor]
_GROUPS: Final = ("", "query_")
_PARTS: Final = ("risk_level_category_pre", "risk_level_category_layernorm", "risk_level_head", "category_head")
TENSORS: Final = tuple(f"{group}{part}.weight" for group in _GROUPS for part in _PARTS)


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of a head group by the order of its logits."""

    risks: tuple[str, ...]
    categories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HeadGroup:
    """One role's heads, in float32: what they say of a hidden state of the model's last layer."""

    labels: Labels
    pre: torch.Tensor
    norm: torch.Tensor
    risk: torch.Tensor
    category: torch.Tensor
    eps: float

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits of shape (rows, risks + categories) of float32 hidden states of shape (rows, width)."""
        inner = functional.rms_norm(functional.linear(hidden, self.pre), self.norm.shape, self.norm, self.eps)
        return torch.cat([functional.linear(inner, self.risk), functional.linear(inner, self.category)], dim=1)


def read_heads(name: str, config: Any, read: ReadTensor, device: torch.device) -> tuple[HeadGroup, HeadGroup]:
    """The heads of answers and of the user's turns, their widths and labels as the config says.

    Raises ValueError, naming the model and the tensor or the key of its config, where they do not fit together.
    """
    response, query = (_head_group(name, config, read, device, group) for group in _GROUPS)
    return response, query


def _head_group(name: str, config: Any, read: ReadTensor, device: torch.device, group: str) -> HeadGroup:
    shown = group or "response_"
    risks = _labels(name, config, f"{shown}risk_level_map", f"num_{group}risk_level")
    if unknown := sorted(set(risks) ^ RISKS):
        raise ValueError(f"guard.model {name!r}: {shown}risk_level_map must name {sorted(RISKS)}, not {unknown[:3]}")
    categories = _labels(name, config, f"{shown}category_map", f"num_{group}category")
    inner = _count(name, config, "guard_inner_size")
    hidden = config.hidden_size
    shapes = dict(zip(_PARTS, ((inner, hidden), (inner,), (len(risks), inner), (len(categories), inner)), strict=True))
    tensors: dict[str, torch.Tensor] = {}
    for part, expected in shapes.items():
        tensor = read(f"{group}{part}.weight")
        if tuple(tensor.shape) != expected:
            raise ValueError(
                f"guard.model {name!r}: {group}{part}.weight has the shape {tuple(tensor.shape)}, where the config "
                f"makes it {expected}"
            )
        tensors[part] = tensor.to(device, torch.float32)
    pre, norm, risk, category = tensors.values()
    return HeadGroup(Labels(risks, categories), pre, norm, risk, category, config.rms_norm_eps)


def _labels(name: str, config: Any, map_key: str, count_key: str) -> tuple[str, ...]:
    found = getattr(config, map_key, None)
    if not isinstance(found, Mapping):
        raise ValueError(f"guard.model {name!r}: the config has no {map_key}")  # noqa: TRY004
    labels = {str(key): str(label).strip('"') for key, label in found.items()}
    count = _count(name, config, count_key)
    if set(labels) != {str(index) for index in range(count)} or len(set(labels.values())) != count:
        raise ValueError(
            f"guard.model {name!r}: {map_key} does not name {count} labels, as {count_key} says, once each"
        )
    return tuple(labels[str(index)] for index in range(count))


def _count(name: str, config: Any, key: str) -> int:
    found = getattr(config, key, None)
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise ValueError(f"guard.model {name!r}: the config's {key} is {found!r}, not a count")
    return found
