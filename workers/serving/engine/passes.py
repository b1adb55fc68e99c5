"""Cuts a batch: into passes of nearly one length, so that little is padding, and in halves where memory runs out.

Knows nothing of prompts or verdicts.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class PassLimits:
    """How large one pass may be.

    `tokens` bounds rows times longest row (a single longer row is a pass of its own), `rows` the rows, and `padding`
    the share of a pass that is padding. A pass of up to `small_rows` rows may be padded more: there, another pass costs
    more than its padding.
    """

    tokens: int
    rows: int
    padding: float
    small_rows: int = 1


def cut_into_passes(lengths: Sequence[int], limits: PassLimits) -> Iterator[list[int]]:
    """The indices of `lengths`, the longest first, in passes within `limits`; each index is in exactly one pass."""
    indices: list[int] = []
    real = 0
    # Longest first: if memory is short, it is found out at once.
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if indices and _is_too_much(len(indices) + 1, lengths[indices[0]], real + lengths[index], limits):
            yield indices
            indices, real = [], 0
        indices.append(index)
        real += lengths[index]
    if indices:
        yield indices


def _is_too_much(rows: int, longest: int, real: int, limits: PassLimits) -> bool:
    if rows > limits.rows or rows * longest > limits.tokens:
        return True
    return rows > limits.small_rows and 1 - real / (rows * longest) > limits.padding


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
