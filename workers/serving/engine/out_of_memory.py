"""Runs a batch in halves when it does not fit into the accelerator's memory.

Knows nothing of what a batch holds.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_in_halves(run: Callable[[Sequence[Item]], list[Result]], batch: Sequence[Item]) -> list[Result]:
    """The results of `run(batch)`; where memory runs out, those of its halves, and so on down to one item.

    Raises torch.OutOfMemoryError if a single item does not fit; whether the item or the machine is to blame is unknown
    here.
    """
    try:
        return run(batch)
    except torch.OutOfMemoryError:
        if len(batch) <= 1:
            raise
    # Outside the handler: the exception's traceback kept the failed batch's tensors alive until here.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = len(batch) // 2
    return run_in_halves(run, batch[:middle]) + run_in_halves(run, batch[middle:])
