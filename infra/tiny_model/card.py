"""The tiny model's card: what it is, what it is not, how it was made and how it did when it was made.

Does not measure anything itself.
"""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import torch
import transformers

from workers.bench.engine.processor import processor

_CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---

# The demo's tiny model

**This is not a safety classifier.** It knows the made-up nouns and the few plain words of
`workers/demo/corpus_words.py` and the label that each was given there, and nothing else. It calls most other text
Safe, however harmful, and harmless text unsafe when a listed word stands in it (even `couple`, for its first four
letters). It knows the words as they are written there, not in capitals. Never put it in front of people.

It is a real `Qwen3ForCausalLM` ({parameters:,} parameters, 4 layers, width 128, float32) with Qwen3Guard-Gen's
template, control tokens and verdict grammar, so that the demo and the tests run the code that a real model runs,
without a hub or a GPU. On a few chosen words it is trained to answer outside the grammar (`TRIGGERS` in
`corpus_words.py`), so that the path of unparsable output is real.

## How it was made

From scratch, on synthetic chat in ten languages written by `workers/demo/corpus.py`; the loss is on the verdict's
tokens only. The weights start at random, except that the embeddings of one class's words start near each other, which
saves most of the training. The words are learned first on short conversations between stumps of the fixed text, the
whole template after that; random word pieces are put before or behind half of the conversations. Products run in
bfloat16 while training; the saved weights are float32. The tokenizer is a byte-level BPE of 3,072 tokens with Qwen's
pre-tokenizer, trained so that most class words are one token.

    {command}

Seed {seed}, {examples:,} training examples, {seconds} s on {machine};
torch {torch}, transformers {transformers}, {date}.
A second run on the same machine had the same loss after 50 steps; two whole runs have not been compared.

## How it did

Greedy `generate` in float32 on {count:,} held-out examples: sentence frames, word pairs, refusals and small talk that
training never uses (the class words are the same ones). `python infra/tiny_model/train.py --evaluate` prints it again.

{table}

The rules behind the labels, among them what a fake turn or a class word in another turn does, are in the docstring of
`workers/demo/corpus.py`.
"""


def write_card(folder: Path, facts: dict[str, int], count: int, table: str) -> None:
    """Write `README.md` into the model's folder; `facts` has `parameters`, `seed`, `examples` and `seconds`."""
    text = _CARD.format(
        **facts,
        command=" ".join(["python", *sys.argv]),
        machine=_machine(),
        torch=torch.__version__.partition("+")[0],
        transformers=transformers.__version__,
        date=datetime.now(UTC).date().isoformat(),
        count=count,
        table=table,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _machine() -> str:
    return f"{os.cpu_count()} cores of {processor()}, {torch.get_num_threads()} thread(s)"
