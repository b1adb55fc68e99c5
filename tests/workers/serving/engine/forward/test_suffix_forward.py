"""Which rows go through the products on a CPU."""

import pytest
import torch

from tests.workers.serving.engine.random_models import random_model
from workers.serving.engine.forward.suffix_forward import SuffixForward
from workers.serving.engine.forward.weights import Product, Tiles


def test_padding_goes_through_no_product_and_equal_tokens_once_through_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forward = SuffixForward(random_model("0.6B", layers=2, dtype=torch.float32, vocabulary=50))
    prefix = forward.prefix([1, 2, 3])
    rows: list[int] = []
    multiply = Product.__call__

    def watched(product: Product, inputs: torch.Tensor, tiles: Tiles | None = None) -> torch.Tensor:
        rows.append(len(inputs))
        return multiply(product, inputs, tiles)

    monkeypatch.setattr(Product, "__call__", watched)
    ids = torch.arange(27).view(3, 9) % 10
    forward.start(ids, prefix, torch.tensor([[4], [8], [6]]))
    # 5, 9 and 7 tokens, ten different ones; of the last layer and the head only what is asked for.
    assert rows == [10, 21, 21, 21, 21, 3, 3, 3, 3]
