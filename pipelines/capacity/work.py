"""What one message costs a model of a known shape: arithmetic, memory, tokens.

Knows nothing of time, GPUs or loads.
"""

from typing import NamedTuple

from pipelines.capacity.figures import (
    BYTES,
    FAMILY,
    HEAD_SIZE,
    KEY_VALUE_HEADS,
    SECOND_PASS_TOKENS,
    VOCABULARY,
    ModelShape,
)
from schemas.event import Task


class Work(NamedTuple):
    """GFLOP of one message: layers, output layer, attention, and the second pass of verdicts other than Safe."""

    body: float
    head: float
    attention: float
    second_pass: float

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self)


def work_of(shape: ModelShape, task: Task, tokens: float, unsafe_share: float) -> Work:
    """GFLOP of one message on a kept prefix, its drafted verdict included."""
    frame = FAMILY.frames[task]
    new = new_tokens(task, tokens)
    per_token = 2 * shape.layers * layer_weights(shape) / 1e9
    row = 2 * VOCABULARY * shape.hidden / 1e9
    # Each new token attends to the prefix, to the new ones before it, and to itself.
    pairs = new * frame.prefix + new * (new + 1) / 2
    attention = 4 * shape.layers * shape.heads * HEAD_SIZE * pairs / 1e9
    second = unsafe_share * SECOND_PASS_TOKENS * (per_token + row)
    return Work(new * per_token, (frame.draft + 1) * row, attention, second)


def new_tokens(task: Task, tokens: float) -> float:
    """Tokens that pass through the model for one message: its own, the template's behind the prefix, the draft."""
    frame = FAMILY.frames[task]
    return tokens + frame.ends + frame.between + frame.tail + frame.draft


def prompt_tokens(task: Task, tokens: float) -> float:
    """Tokens of a whole prompt with its draft."""
    return tokens + FAMILY.fixed_tokens(task)


def weights_gb(shape: ModelShape) -> float:
    """Bytes of the weights, in GB."""
    embeddings = VOCABULARY * shape.hidden * (1 if shape.tied else 2)
    return (shape.layers * layer_weights(shape) + embeddings) * BYTES / 1e9


def stream_weights_gb(shape: ModelShape) -> float:
    """The same of a model that labels tokens: no output matrix, and heads that are too small to count."""
    return (shape.layers * layer_weights(shape) + VOCABULARY * shape.hidden) * BYTES / 1e9


def prefix_gb(shape: ModelShape, task: Task) -> float:
    """Keys and values of the fixed prefix, in GB."""
    return FAMILY.frames[task].prefix * cache_per_token(shape) * BYTES / 1e9


def sequence_gb(shape: ModelShape, task: Task, tokens: float) -> float:
    """Keys, values and the widest activations of one sequence in a batch, its prefix counted as its own, in GB."""
    new = new_tokens(task, tokens)
    widest = new * (8 * shape.hidden + 3 * shape.mlp)
    return prefix_gb(shape, task) + (new * cache_per_token(shape) + widest) * BYTES / 1e9


def cache_per_token(shape: ModelShape) -> int:
    """Numbers of a token's keys and values, in all layers."""
    return shape.layers * 2 * KEY_VALUE_HEADS * HEAD_SIZE


def layer_weights(shape: ModelShape) -> int:
    """Weights of one layer: queries and output, keys and values, and the three products of the MLP."""
    return shape.hidden * (2 * shape.heads * HEAD_SIZE + 2 * KEY_VALUE_HEADS * HEAD_SIZE + 3 * shape.mlp)
