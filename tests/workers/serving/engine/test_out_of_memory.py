"""A batch that does not fit is run in halves."""

from collections.abc import Callable, Sequence

import pytest
import torch

from workers.serving.engine.passes import run_in_halves


def _device_for(most: int, tried: list[int]) -> Callable[[Sequence[int]], list[int]]:
    def run(batch: Sequence[int]) -> list[int]:
        tried.append(len(batch))
        if len(batch) > most:
            raise torch.OutOfMemoryError("no memory left")
        return [item * 10 for item in batch]

    return run


@pytest.mark.parametrize("most", [1, 2, 3, 7, 100])
def test_results_keep_their_order_however_small_the_pieces_get(most: int) -> None:
    tried: list[int] = []
    assert run_in_halves(_device_for(most, tried), range(7)) == [0, 10, 20, 30, 40, 50, 60]
    assert max(size for size in tried if size <= most) <= most


def test_a_batch_that_fits_is_run_once() -> None:
    tried: list[int] = []
    run_in_halves(_device_for(7, tried), range(7))
    assert tried == [7]


def test_one_item_that_does_not_fit_is_the_backends_failure() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        run_in_halves(_device_for(0, []), range(3))


def test_other_failures_are_not_retried() -> None:
    tried: list[int] = []

    def run(batch: Sequence[int]) -> list[int]:
        tried.append(len(batch))
        raise RuntimeError("device lost")

    with pytest.raises(RuntimeError, match="device lost"):
        run_in_halves(run, range(4))
    assert tried == [4]
