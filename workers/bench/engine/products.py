"""How fast a machine multiplies matrices of a model's shapes: the bound of everything that runs the model.

Knows nothing of prompts or engines.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import torch
from torch.nn import functional

from workers.bench.engine.machine import seconds_of

_REPEATS: Final = 3


def product_shapes(config: Any) -> list[tuple[int, int]]:
    """(output, input) widths of one layer's four products."""
    heads = config.num_attention_heads * config.head_dim
    both = heads + 2 * config.num_key_value_heads * config.head_dim
    hidden, inner = config.hidden_size, config.intermediate_size
    return [(both, hidden), (hidden, heads), (2 * inner, hidden), (hidden, inner)]


def measure_products(network: Any, rows: int) -> float:
    """GFLOP/s of a layer's products for `rows` rows, the best way there is, on more weights than any cache holds."""
    device, dtype = network.device, network.dtype
    weights = [
        [torch.randn(out, inner, device=device).mul_(0.02).to(dtype) for out, inner in product_shapes(network.config)]
        for _ in range(min(network.config.num_hidden_layers, 8))
    ]
    inputs = [torch.randn(rows, weight.shape[1], device=device).to(dtype) for weight in weights[0]]

    def once(multiply: Callable[[torch.Tensor, Any], torch.Tensor], matrices: Sequence[Sequence[Any]]) -> None:
        for layer in matrices:
            for matrix, weight in zip(inputs, layer, strict=True):
                multiply(matrix, weight)

    ways: list[tuple[Callable[[torch.Tensor, Any], torch.Tensor], Sequence[Sequence[Any]]]]
    ways = [(functional.linear, weights)]
    if device.type == "cpu" and dtype == torch.bfloat16:
        # What inductor's freezing does with weights: laid out for the product beforehand, in a second copy.
        operators = torch.ops.mkldnn
        packed = [[operators._reorder_linear_weight(weight, rows) for weight in layer] for layer in weights]  # noqa: SLF001
        ways.append((partial(_packed_product, operators), packed))
    with torch.inference_mode():
        for way in ways:
            once(*way)
        best = min(seconds_of(partial(once, *way), device) for way in ways for _ in range(_REPEATS))
    flops = 2 * rows * sum(weight.numel() for layer in weights for weight in layer)
    return float(flops) / best / 1e9


def _packed_product(operators: Any, matrix: torch.Tensor, weight: Any) -> torch.Tensor:
    product: torch.Tensor = operators._linear_pointwise(matrix, weight, None, "none", [], "")  # noqa: SLF001
    return product
