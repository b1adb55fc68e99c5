"""Cuts a batch into passes: rows of nearly one length, so that little of a rectangle is padding.

Knows nothing of torch, prompts or verdicts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


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
