"""The tiny models' cards: what they are, what they are not, how they were made and how they did when they were made.

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

_STREAM_CARD = """---
license: apache-2.0
library_name: transformers
---

# The demo's tiny Stream model

**This is not a safety classifier.** It knows the made-up nouns and the few plain words of
`workers/demo/corpus_words.py` and the label that each was given there, and nothing else. It calls most other text
Safe, however harmful, and harmless text unsafe when a listed word stands in it. Never put it in front of people.

It has the layout of Qwen3Guard-Stream (`Qwen3ForGuardModel`: a Qwen3 backbone and eight tensors of two head groups;
{parameters:,} parameters, 3 layers, width 64, float32), its label maps, its context of 8,192 tokens and a chat template
that writes turns of text as Qwen3's does, so that the tests and `weir classify --stream` run the code that a real model
runs, without a hub or a GPU. The tokenizer is that of the demo's tiny model.

## How it was made

From scratch, on the synthetic chat of `workers/demo/corpus.py`, with a label at every token of an answer and at the
token that closes the user's turn: Safe up to the last token of the turn's first class word, from there on what that
word stands for (`infra/tiny_model/stream_rows.py`). The weights start at random, except that the embeddings of one
class's words start near each other.

    {command}

Seed {seed}, {examples:,} training examples, {seconds} s on {machine};
torch {torch}, transformers {transformers}, {date}.

## How it did

In float32 on {count:,} held-out conversations, by `StreamGuard`: sentence frames, word pairs, refusals and small talk
that training never uses (the class words are the same ones). `python infra/tiny_model/train_stream.py --evaluate`
prints it again.

{table}
"""


def write_card(folder: Path, facts: dict[str, int], count: int, table: str) -> None:
    """Write `README.md` into the model's folder; `facts` has `parameters`, `seed`, `examples` and `seconds`."""
    _write(_CARD, folder, facts, count, table)


def write_stream_card(folder: Path, facts: dict[str, int], count: int, table: str) -> None:
    """Write the same of the tiny Stream model."""
    _write(_STREAM_CARD, folder, facts, count, table)


def _write(card: str, folder: Path, facts: dict[str, int], count: int, table: str) -> None:
    text = card.format(
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
