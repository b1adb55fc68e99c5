"""Train the demo's tiny Stream model from scratch on synthetic chat, and print how it does on held-out synthetic chat.

The result is NOT a safety classifier, as the tiny model beside it is none. It exists so that tests and the command line
run Qwen3Guard-Stream's layout (`Qwen3ForGuardModel`) without a hub or a GPU.

    python infra/tiny_model/train_stream.py               # trains, writes workers/demo/tiny_stream_model/; minutes
    python infra/tiny_model/train_stream.py --evaluate    # prints the held-out figures of the model in that folder

Uses the tiny model's tokenizer, whose pieces are the class words. Does not make `chat_template.jinja`.
"""

# ruff: noqa: T201  what a script prints is its result

import json
import math
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import save_file
from torch.nn import functional
from transformers import AutoTokenizer, Qwen3Config, Qwen3Model
from transformers.utils import logging as transformers_logging

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from infra.tiny_model.card import write_stream_card  # noqa: E402  the repository root is on the path only now
from infra.tiny_model.stream_rows import CATEGORIES, RISKS, Row, rows  # noqa: E402
from infra.tiny_model.training import parser_of, rate_at, smoothed, spread_embeddings  # noqa: E402
from workers.demo.corpus import drills, examples  # noqa: E402
from workers.serving.engine.stream_guard import StreamGuard  # noqa: E402
from workers.serving.engine.streaming.opening import Opener  # noqa: E402

TOKENIZER = ROOT / "workers" / "demo" / "tiny_model"
FOLDER = ROOT / "workers" / "demo" / "tiny_stream_model"
CONTEXT, INNER = 8192, 32
HELD_OUT_SEED = 1
POOL = 512
"""Rows that are sorted by length together."""
SHORT = 160
"""Tokens: long conversations are for the last lessons, and most of the training's price."""

Figures = dict[str, tuple[int, int, int, int]]
"""Group to (conversations, all labels right, tokens, tokens with the right risk)."""


class Heads(torch.nn.Module):
    """One group's four tensors, named as Qwen3Guard-Stream names them."""

    def __init__(self, width: int, categories: int) -> None:
        super().__init__()
        self.risk_level_category_pre = torch.nn.Linear(width, INNER, bias=False)
        self.risk_level_category_layernorm = torch.nn.RMSNorm(INNER, eps=1e-6)
        self.risk_level_head = torch.nn.Linear(INNER, len(RISKS), bias=False)
        self.category_head = torch.nn.Linear(INNER, categories, bias=False)

    def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        inner = self.risk_level_category_layernorm(self.risk_level_category_pre(hidden))
        return self.risk_level_head(inner), self.category_head(inner)


def config(tokenizer: Any) -> Qwen3Config:
    """Return the shape: Qwen3 in small, with its grouped heads and the Stream model's context."""
    return Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=CONTEXT,
        rope_theta=1000000.0,
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def batches(source: Iterator[Row], batch_tokens: int) -> Iterator[list[Row]]:
    """Yield batches of similar length, about `batch_tokens` tokens padded, until `source` ends."""
    random = Random(3)
    while chunk := sorted(islice(source, POOL), key=lambda row: len(row.ids)):
        pool: list[list[Row]] = [[]]
        for row in chunk:
            if pool[-1] and (len(pool[-1]) + 1) * len(row.ids) > batch_tokens:
                pool.append([])
            pool[-1].append(row)
        random.shuffle(pool)
        yield from pool


def loss_of(model: Qwen3Model, response: Heads, query: Heads, batch: list[Row]) -> torch.Tensor:
    """Return the loss of one batch: risk everywhere, category where the risk is not Safe."""
    ids = torch.zeros(len(batch), max(len(row.ids) for row in batch), dtype=torch.long)
    for index, row in enumerate(batch):
        ids[index, : len(row.ids)] = torch.tensor(row.ids)
    # Padded on the right, so the causal mask alone hides the padding.
    hidden = model(input_ids=ids, use_cache=False).last_hidden_state
    answers = [(i, row.answer_at + k, label) for i, row in enumerate(batch) for k, label in enumerate(row.labels)]
    asked = [(i, row.user_at, row.user_label) for i, row in enumerate(batch)]
    loss = torch.zeros(())
    for heads, places in ((response, answers), (query, asked)):
        if not places:
            continue
        rows_at, at, labels = zip(*places, strict=True)
        risks, categories = heads(hidden[list(rows_at), list(at)])
        loss = loss + functional.cross_entropy(risks.float(), torch.tensor([RISKS.index(risk) for risk, _ in labels]))
        unsafe = [index for index, (risk, _) in enumerate(labels) if risk != "Safe"]
        if unsafe:
            wanted = torch.tensor([CATEGORIES.index(labels[index][1]) for index in unsafe])
            loss = loss + functional.cross_entropy(categories.float()[unsafe], wanted)
    return loss


def lessons(opener: Opener, seed: int, steps: int, batch_tokens: int) -> Iterator[list[Row]]:
    """Yield the batches of the whole training: a few words first, then short conversations, then all."""
    few = rows(opener, drills(seed, 10**9))
    short = (row for row in rows(opener, examples(seed + 1, 10**9)) if len(row.ids) <= SHORT)
    every = rows(opener, examples(seed + 2, 10**9))
    first, last = steps * 4 // 10, steps // 10
    plan = ((few, batch_tokens // 2, first), (short, batch_tokens, steps - first - last), (every, batch_tokens, last))
    return chain.from_iterable(islice(batches(source, tokens), count) for source, tokens, count in plan)


def train(folder: Path, seed: int, steps: int, batch_tokens: int, peak: float) -> dict[str, int]:
    """Train and write the model; return what the card shall say."""
    torch.manual_seed(seed)
    tokenizer: Any = AutoTokenizer.from_pretrained(TOKENIZER)
    tokenizer.chat_template = (FOLDER / "chat_template.jinja").read_text(encoding="utf-8")
    opener = Opener("tiny", tokenizer, CONTEXT)
    model = Qwen3Model(config(tokenizer))
    spread_embeddings(model.embed_tokens.weight, tokenizer)
    response, query = (
        Heads(model.config.hidden_size, len(CATEGORIES) - 1),
        Heads(model.config.hidden_size, len(CATEGORIES)),
    )
    weights = [*model.parameters(), *response.parameters(), *query.parameters()]
    optimizer = torch.optim.AdamW(weights, betas=(0.9, 0.98), weight_decay=0.02)
    started, smooth, seen = time.monotonic(), math.nan, 0
    for step, batch in enumerate(lessons(opener, seed, steps, batch_tokens), 1):
        rate = rate_at(step, steps, peak)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = loss_of(model, response, query, batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        seen += len(batch)
        smooth = smoothed(smooth, loss.item())
        if step % 50 == 0 or step == steps:
            print(
                f"step {step}/{steps}  {seen} examples  loss {smooth:.4f}  {time.monotonic() - started:.0f} s",
                flush=True,
            )
    save(folder, model, response, query)
    parameters = sum(weight.numel() for weight in weights)
    return {"parameters": parameters, "examples": seen, "seconds": round(time.monotonic() - started), "seed": seed}


def save(folder: Path, model: Qwen3Model, response: Heads, query: Heads) -> None:
    """Write weights, config and tokenizer as the real model's repository has them, but for its code."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= response.state_dict()
    tensors |= {f"query_{name}": tensor for name, tensor in query.state_dict().items()}
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    risks, categories = ({str(index): label for index, label in enumerate(labels)} for labels in (RISKS, CATEGORIES))
    own = {
        "architectures": ["Qwen3ForGuardModel"],
        "dtype": "float32",
        "guard_inner_size": INNER,
        "num_risk_level": len(RISKS),
        "num_category": len(CATEGORIES) - 1,
        "num_query_risk_level": len(RISKS),
        "num_query_category": len(CATEGORIES),
        "response_risk_level_map": risks,
        "response_category_map": {key: label for key, label in categories.items() if label != "Jailbreak"},
        "query_risk_level_map": risks,
        "query_category_map": categories,
    }
    text = json.dumps({**json.loads(model.config.to_json_string(use_diff=True)), **own}, indent=2, sort_keys=True)
    (folder / "config.json").write_text(f"{text}\n", encoding="utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / name, folder / name)
    if folder.resolve() != FOLDER:
        shutil.copy(FOLDER / "chat_template.jinja", folder)


def evaluate(folder: Path, count: int, show: int = 10) -> Figures:
    """Judge `count` held-out examples as the product does, and count right labels by group; print some wrong ones."""
    guard = StreamGuard.load(str(folder), device="cpu", dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    figures: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for row in rows(Opener("tiny", tokenizer, CONTEXT), examples(HELD_OUT_SEED, count, "held_out")):
        session = guard.open(row.turns)
        [verdicts] = guard.push([(session, "", True)])
        guard.close(session)
        wanted = [row.user_label, *row.labels]
        found = [(verdict.risk, verdict.category) for verdict in verdicts]
        if found != wanted and show > 0:  # which mistakes, not only how many
            show -= 1
            first = next(index for index, pair in enumerate(zip(found, wanted, strict=True)) if pair[0] != pair[1])
            print(f"wrong at {first} of {len(found)}: {row.turns!r:.400} wanted {wanted[first]} got {found[first]}")
        right = sum(a[0] == b[0] for a, b in zip(found, wanted, strict=True))
        for group in ("all", f"{row.example.task} {row.example.severity}", f"language {row.example.language}"):
            sums = (1, found == wanted, len(found), right)
            figures[group] = [old + new for old, new in zip(figures[group], sums, strict=True)]
    return {group: (row[0], row[1], row[2], row[3]) for group, row in figures.items()}


def report(figures: Figures) -> str:
    """Return the figures as a Markdown table, `all` first."""
    lines = [
        "| held-out group | conversations | every label right | tokens | their risk right |",
        "|---|---|---|---|---|",
    ]
    for group in sorted(figures, key=lambda name: (name != "all", name)):
        count, whole, tokens, right = figures[group]
        lines.append(f"| {group} | {count} | {whole / count:.1%} | {tokens:,} | {right / tokens:.2%} |")
    return "\n".join(lines)


def main() -> None:
    """Run as a script."""
    parser = parser_of(__doc__, FOLDER)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch-tokens", type=int, default=3072, help="tokens of a batch, padded")
    parser.add_argument("--peak", type=float, default=3e-3, help="highest learning rate")
    arguments = parser.parse_args()
    transformers_logging.set_verbosity_error()
    torch.set_num_threads(arguments.threads)
    facts = None
    if not arguments.evaluate:
        facts = train(arguments.folder, arguments.seed, arguments.steps, arguments.batch_tokens, arguments.peak)
        print(json.dumps(facts))
    table = report(evaluate(arguments.folder, arguments.held_out))
    print(table)
    if facts:
        write_stream_card(arguments.folder, facts, arguments.held_out, table)


if __name__ == "__main__":
    main()
