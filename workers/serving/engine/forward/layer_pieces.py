"""What a layer does between its matrix products, in pieces that can each be compiled into one loop.

Compiling takes half a minute and needs a compiler on the machine, so it happens beside the engine's work, which uses
the uncompiled pieces until then. Knows nothing of weights' names, caches or prompts.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch.nn import functional

_LOG: Final = logging.getLogger(__name__)


def normed(hidden: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """RMS norm of (tokens, width)."""
    return functional.rms_norm(hidden, weight.shape, weight, eps)


def added_and_normed(
    hidden: torch.Tensor, update: torch.Tensor, weight: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum of two tensors of shape (tokens, width), and its RMS norm."""
    total = hidden + update
    return total, functional.rms_norm(total, weight.shape, weight, eps)


def rotated(
    heads: torch.Tensor,
    norms: tuple[torch.Tensor, torch.Tensor],
    eps: float,
    rotation: tuple[torch.Tensor, torch.Tensor],
    query_heads: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Normed and rotated queries and keys of (tokens, heads of both, head size); angles are (tokens, head size)."""
    query, keys = heads[:, :query_heads], heads[:, query_heads:]
    query = functional.rms_norm(query, norms[0].shape, norms[0], eps)
    keys = functional.rms_norm(keys, norms[1].shape, norms[1], eps)
    return _turned(query, rotation), _turned(keys, rotation)


def _turned(heads: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Transformers' `apply_rotary_pos_emb`; by halves, compiled code takes half as long."""
    first, second = heads.chunk(2, dim=-1)
    (cos, _), (sin, _) = (angle[:, None].chunk(2, dim=-1) for angle in rotation)  # both halves are the same
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def gated(gate_up: torch.Tensor) -> torch.Tensor:
    """SwiGLU's product of the first and the second half of each token's values."""
    gate, up = gate_up.chunk(2, dim=-1)
    return functional.silu(gate) * up


def weighed(scores: torch.Tensor, mask: torch.Tensor, scale: float) -> torch.Tensor:
    """Attention weights in the dtype of `scores`, computed in float32."""
    return (scores.float() * scale + mask).softmax(dim=-1).to(scores.dtype)


@dataclass(frozen=True, slots=True)
class LayerPieces:
    """One way to run the pieces: as they are, or compiled."""

    normed: Callable[..., torch.Tensor] = normed
    added_and_normed: Callable[..., tuple[torch.Tensor, torch.Tensor]] = added_and_normed
    rotated: Callable[..., tuple[torch.Tensor, torch.Tensor]] = rotated
    gated: Callable[..., torch.Tensor] = gated
    weighed: Callable[..., torch.Tensor] = weighed


PLAIN: Final = LayerPieces()


def compiled_pieces(try_out: Callable[[LayerPieces], torch.Tensor]) -> LayerPieces | None:
    """The pieces compiled, or None, with a warning, where that is not possible or changes what they compute.

    `try_out` runs them on shapes as they will come; its result must not depend on which pieces it is given.
    """

    def compiled(piece: Callable[..., Any]) -> Any:
        # Not `fullgraph`: what cannot be compiled once more, for a shape never met before, must run as it is.
        return torch.compile(piece, dynamic=True)

    pieces = LayerPieces(
        normed=compiled(normed),
        added_and_normed=compiled(added_and_normed),
        rotated=compiled(rotated),
        gated=compiled(gated),
        weighed=compiled(weighed),
    )
    try:
        with torch.inference_mode():
            found, expected = try_out(pieces), try_out(PLAIN)
    except Exception as error:  # noqa: BLE001 - whatever a compiler fails with, there is another way
        _LOG.warning("layers are not compiled: %s", type(error).__name__)
        return None
    # Roundings may differ, results may not: bfloat16 keeps 8 bits, and its errors add up over the layers.
    allowed = (1e-4 if expected.dtype == torch.float32 else 0.25) * expected.float().std()
    if not bool((found - expected).abs().max() <= allowed):
        _LOG.warning("layers are not compiled: the compiled ones compute something else")
        return None
    return pieces
