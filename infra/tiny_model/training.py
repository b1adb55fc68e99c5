"""What both tiny models are trained with: how embeddings start, how the rate falls, what the scripts take."""

import argparse
import math
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from workers.demo.corpus import class_words


def spread_embeddings(table: torch.Tensor, tokenizer: PreTrainedTokenizerBase) -> None:
    """Start the embeddings [pieces, width] far apart, and those of one class's words near each other.

    At the default spread of 0.02, the output side of a tied table makes all rows alike within a few steps.
    """
    classes = dict(class_words())
    directions = {name: torch.randn(table.shape[1]) for name in dict.fromkeys(classes.values())}
    with torch.no_grad():
        table.normal_()
        for piece in range(table.shape[0]):
            name = classes.get(str(tokenizer.decode([piece])).strip(" “「"))
            if name:
                table[piece] += directions[name]
        table *= 0.1


def rate_at(step: int, steps: int, peak: float) -> float:
    """The learning rate: it rises for 100 steps and falls as a cosine to a fiftieth."""
    return peak * min(1.0, step / 100) * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * step / steps)))


def smoothed(smooth: float, loss: float) -> float:
    """The running mean of the losses, NaN before the first."""
    return loss if math.isnan(smooth) else 0.95 * smooth + 0.05 * loss


def parser_of(description: str | None, folder: Path) -> argparse.ArgumentParser:
    """The options that both scripts have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluate", action="store_true", help="only print the held-out figures of the saved model")
    parser.add_argument("--folder", type=Path, default=folder, help="where the model is written and read")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1, help="more only helps where no one else works")
    parser.add_argument("--held-out", type=int, default=1000, help="held-out examples to judge")
    return parser
