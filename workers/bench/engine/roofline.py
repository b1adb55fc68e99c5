"""What each pass of the one-pass engine would take on a GPU at its limits: products, attention, copies, launches.

The engine's own forward runs on tensors without data, so any shape takes seconds on any machine; each operation is
counted with its arithmetic, its bytes and its launch. Nothing here was measured on a GPU: these are lower bounds, and
they tell where launching takes longer than computing. Knows nothing of clocks.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import Qwen3Config, Qwen3ForCausalLM

from workers.bench.engine.shapes import FRAMES, VERDICT_TOKENS, config_of
from workers.serving.engine.completion import Task
from workers.serving.engine.forward.kept_cache import PrefixCache
from workers.serving.engine.forward.layer_pieces import LayerPieces
from workers.serving.engine.forward.suffix_forward import SuffixForward
from workers.serving.engine.verdict_decoder import choices_of

Kind: TypeAlias = Literal["products", "attention", "copies", "rest"]
KINDS: Final[tuple[Kind, ...]] = ("products", "attention", "copies", "rest")
_META: Final = torch.device("meta")
# Where the left factor stands among what a product is given.
_PRODUCTS: Final = {"linear": 0, "mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1}
_COPIES: Final = frozenset(
    {"cat", "stack", "copy_", "clone", "_to_copy", "index", "index_put", "index_put_", "_index_put_impl_",
     "index_select", "gather", "embedding", "constant_pad_nd", "repeat", "slice_scatter", "select_scatter"}
)  # fmt: skip
_WITHOUT_KERNEL: Final = frozenset(
    {"empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided", "_unsafe_view", "_reshape_alias",
     "detach", "lift_fresh"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU's limits: floating-point operations and bytes a second, and seconds to launch a kernel."""

    flops: float
    bandwidth: float
    launch_s: float


H200: Final = Gpu(flops=790e12, bandwidth=4.3e12, launch_s=5e-6)


@dataclass(slots=True)
class PassCost:
    """What one pass costs: seconds of each kind of work at the GPU's limits, and kernels that are launched."""

    rows: int
    tokens: int
    seconds: dict[Kind, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 0.0))
    flops: dict[Kind, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 0.0))
    launches: int = 0

    @property
    def computing_s(self) -> float:
        """All kernels, one behind the other."""
        return sum(self.seconds.values())

    def launching_s(self, gpu: Gpu) -> float:
        """All launches, one behind the other; a graph replays them in one."""
        return self.launches * gpu.launch_s

    def took_s(self, gpu: Gpu) -> float:
        """The whole pass: a GPU computes while it is told what comes next, and waits where it is told too slowly."""
        return max(self.computing_s, self.launching_s(gpu))


class Meter:
    """Counts what operations cost while it is used, on tensors without data."""

    def __init__(self, gpu: Gpu, cost: PassCost) -> None:
        self._gpu = gpu
        self._cost = cost
        self._is_inside_a_piece = False

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what is done within."""
        with _Fused(self), _Operations(self):
            yield

    def add(self, kind: Kind, flops: float, bytes_: float) -> None:
        """Count a kernel: it takes as long as its arithmetic or its bytes, whichever is longer."""
        if self._is_inside_a_piece:
            return
        self._cost.launches += 1
        self._cost.flops[kind] += flops
        self._cost.seconds[kind] += max(flops / self._gpu.flops, bytes_ / self._gpu.bandwidth)

    def pieces(self) -> LayerPieces:
        """The pieces between products as a compiler leaves them: each one kernel that reads and writes once."""
        return LayerPieces(*map(self._as_one_kernel, _pieces_of(LayerPieces())))

    def _as_one_kernel(self, piece: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any) -> Any:
            self._is_inside_a_piece = True
            try:
                made = piece(*given)
            finally:
                self._is_inside_a_piece = False
            self.add("rest", 0.0, _bytes(given) + _bytes(made))
            return made

        return counted


class _Fused(TorchFunctionMode):
    """Takes attention as the one kernel that it is on a GPU: the scores never leave it."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        query, keys, values = args[:3]
        rows, heads, tokens, size = query.shape
        self._meter.add(
            "attention",
            4.0 * rows * heads * tokens * keys.shape[2] * size,
            _bytes(args) + query.nbytes + _bytes(kwargs and kwargs.get("attn_mask")),
        )
        return values.new_empty(query.shape)


class _Operations(TorchDispatchMode):
    """Takes everything else operation by operation; views cost nothing."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")  # noqa: SLF001 - as torch's own modes ask for it
        if func.is_view or name in _WITHOUT_KERNEL:
            return made
        kind: Kind = "products" if name in _PRODUCTS else "copies" if name in _COPIES else "rest"
        flops = 2.0 * made.numel() * args[_PRODUCTS[name]].shape[-1] if kind == "products" else 0.0
        # A copy reads what it writes, not all that it could have read: an embedding's table, say.
        self._meter.add(kind, flops, 2 * _bytes(made) if kind == "copies" else _bytes(args) + _bytes(made))
        return made


def _pieces_of(pieces: LayerPieces) -> tuple[Callable[..., Any], ...]:
    return pieces.normed, pieces.added_and_normed, pieces.rotated, pieces.gated, pieces.weighed


def _bytes(of: Any) -> float:
    """Bytes of all tensors in a structure."""
    if isinstance(of, torch.Tensor):
        return float(of.nbytes)
    return sum(map(_bytes, of)) if isinstance(of, tuple | list) else 0.0


class Roofline:
    """Passes of a model of a known shape, in bfloat16, at a GPU's limits.

    `compiled` takes what lies between the products as a compiler leaves it. Attention is counted with a mask, which the
    kernel for CUDA does without; every token of a pass counts, none as padding.
    """

    def __init__(self, shape: str, task: Task, gpu: Gpu = H200, *, compiled: bool = True) -> None:
        config: Qwen3Config = config_of(shape)
        with _META:
            model: Any = Qwen3ForCausalLM(config).to(torch.bfloat16).requires_grad_(False)
        self._forward = SuffixForward(model)
        heads, size = config.num_key_value_heads, config.head_dim
        shared = torch.empty(heads, FRAMES[task][0], size, device=_META, dtype=torch.bfloat16)
        layers = (shared,) * config.num_hidden_layers
        self._prefix = PrefixCache(layers, layers, FRAMES[task][0])
        self._task: Task = task
        self._gpu = gpu
        self._compiled = compiled

    def own_tokens(self, message: int) -> int:
        """Tokens of one message that pass through the model: its own, the template's behind it, the draft."""
        return message + FRAMES[self._task][1] + VERDICT_TOKENS[self._task] - 1

    def cost_of(self, rows: int, message: int) -> PassCost:
        """One pass over so many messages of so many tokens each, from token ids on the device to choices there."""
        tokens, verdict = self.own_tokens(message), VERDICT_TOKENS[self._task]
        cost = PassCost(rows, tokens)
        meter = Meter(self._gpu, cost)
        ids = torch.empty(rows, tokens, device=_META, dtype=torch.int64)
        positions = torch.empty(rows, verdict, device=_META, dtype=torch.int64)
        with torch.inference_mode(), meter.counting():
            forward = self._forward.with_pieces(meter.pieces()) if self._compiled else self._forward
            logits, _ = forward.start(ids, self._prefix, positions)
            choices_of(logits)
        return cost


def figures(cost: PassCost, gpu: Gpu) -> dict[str, float | str]:
    """A pass in milliseconds and messages per second, as it is shown; `bound_by` is what it waits for most."""
    longest: str = max(KINDS, key=lambda kind: cost.seconds[kind])
    return {
        "messages": cost.rows,
        "tokens": cost.rows * cost.tokens,
        **{f"{kind}_ms": cost.seconds[kind] * 1e3 for kind in KINDS},
        "launches": cost.launches,
        "launching_ms": cost.launching_s(gpu) * 1e3,
        "pass_ms": cost.took_s(gpu) * 1e3,
        "messages_per_s": cost.rows / cost.took_s(gpu),
        "messages_per_s_graphed": cost.rows / cost.computing_s,
        "bound_by": "launches" if cost.launching_s(gpu) > cost.computing_s else longest,
    }
