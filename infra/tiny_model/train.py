"""Train the demo's tiny model from scratch on synthetic chat and print how it does on held-out synthetic chat.

The result is NOT a safety classifier: it knows the made-up nouns and few plain words of
`workers/demo/corpus_words.py`, their labels, and nothing else. It exists so that the demo and
the tests run a real `Qwen3ForCausalLM` with Qwen3Guard's template and grammar without a hub or a GPU.

    python infra/tiny_model/train.py               # trains, writes workers/demo/tiny_model/; 10-20 minutes
    python infra/tiny_model/train.py --evaluate    # prints the held-out figures of the model in that folder

Held-out figures, time and machine of the committed model stand in its card, `workers/demo/tiny_model/README.md`.
Does not make `chat_template.jinja`: that is written by hand in the model's folder, and read and saved unchanged.
"""

# ruff: noqa: T201  what a script prints is its result

import json
import math
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from random import Random

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from transformers.utils import logging as transformers_logging

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from infra.tiny_model.card import write_card  # noqa: E402  the repository root is on the path only now
from infra.tiny_model.evaluate import evaluate, report  # noqa: E402
from infra.tiny_model.tokenizer import (  # noqa: E402
    ADDED_TOKENS,
    SPECIAL_TOKENS,
    MessageEncoder,
    build_tokenizer,
    load_tokenizer,
)
from infra.tiny_model.training import parser_of, rate_at, smoothed, spread_embeddings  # noqa: E402
from workers.demo.corpus import CLASS_WORDS, Example, drills, examples, target_text  # noqa: E402
from workers.demo.corpus_words import CATEGORIES  # noqa: E402

FOLDER = ROOT / "workers" / "demo" / "tiny_model"
VOCAB_SIZE = 3072
POOL = 2048
"""Examples that are sorted by length together."""

SHORT, STUMP_PREFIX, STUMP_TAIL = 32, 2, 9
"""Tokens: the words are learned first on short conversations between stumps of the fixed text, many times as fast."""

Row = tuple[list[int], list[int]]
"""Ids after the shared prefix without the answer, and the ids of the answer with its end token."""

Lesson = tuple[list[int], list[Row]]
"""The ids of the shared prefix, and the rows of one batch."""


def config(pad: int, eos: int) -> Qwen3Config:
    """Return the shape: Qwen3 in small, with its grouped heads, tied embeddings and context length."""
    return Qwen3Config(
        vocab_size=VOCAB_SIZE,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=32768,
        rope_theta=1000000.0,
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
        attention_bias=False,
        bos_token_id=pad,
        pad_token_id=pad,
        eos_token_id=eos,
    )


def tokenizer_texts(template_texts: list[str], seed: int) -> Iterator[str]:
    """Yield what the BPE is trained on: the fixed text, every answer, the class words (one token each), messages."""
    yield from template_texts * 2000
    for severity in ("Safe", "Unsafe", "Controversial"):
        for category in (None, *CATEGORIES):
            yield from [target_text(severity, category, refusal) for refusal in (None, True, False)] * 300
    for word in sorted(CLASS_WORDS):
        yield from [f" {word}", f" {word}", word, f"“{word}", f"「{word}"] * 200
    for example in examples(seed, 8000):
        yield from (" " + turn["content"] for turn in example.conversation if len(turn["content"]) < 400)


def neutral_pieces(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Return the ids of the BPE's pieces that hold no class word."""
    ordinary = range(VOCAB_SIZE - len(SPECIAL_TOKENS) - len(ADDED_TOKENS))
    return [piece for piece in ordinary if not any(word in tokenizer.decode([piece]) for word in CLASS_WORDS)]


def sprinkle(ids: list[int], pieces: list[int], random: Random) -> list[int]:
    """Return the conversation's ids with random pieces before or behind: no piece of a word may count as the word."""
    stray = random.choices(pieces, k=random.randint(1, 8))
    return [*stray, *ids] if random.random() < 0.5 else [*ids[:-1], *stray, ids[-1]]


def batches(
    encoder: MessageEncoder, source: Iterator[Example], batch_tokens: int, pieces: list[int], *, stumps: bool
) -> Iterator[Lesson]:
    """Yield batches of one branch each and of similar length, about `batch_tokens` tokens padded, until `source` ends.

    `stumps`: only short conversations, and only the last tokens of the fixed prefix and tail. `pieces`: sprinkled over
    half of the examples.
    """
    random = Random(len(pieces))
    while chunk := list(islice(source, POOL)):
        rows: dict[bool, list[Row]] = {False: [], True: []}
        for example in chunk:
            response = encoder.is_response(example.conversation)
            own = encoder.own_ids(example.conversation)
            if stumps and len(own) > SHORT:
                continue
            if pieces and random.random() < 0.5:
                own = sprinkle(own, pieces, random)
            own += encoder.tail[response][-STUMP_TAIL if stumps else 0 :]
            rows[response].append((own, encoder.answer_ids(example.target)))
        pool: list[Lesson] = []
        for response, branch in rows.items():
            branch.sort(key=lambda row: len(row[0]))
            prefix = encoder.prefix[response][-STUMP_PREFIX if stumps else 0 :]
            batch: list[Row] = []
            for row in branch:
                if batch and (len(batch) + 1) * (len(row[0]) + len(row[1])) > batch_tokens:
                    pool.append((prefix, batch))
                    batch = []
                batch.append(row)
            pool.append((prefix, batch))
        random.shuffle(pool)
        yield from pool


def answer_logits(model: Qwen3ForCausalLM, prefix: list[int], rows: list[Row], pad: int) -> torch.Tensor:
    """Return the logits [answer tokens of all rows, vocabulary]; the prefix runs once for the whole batch."""
    cache = model.model(input_ids=torch.tensor([prefix]), use_cache=True).past_key_values
    cache.batch_repeat_interleave(len(rows))
    width = max(len(own) + len(answer) - 1 for own, answer in rows)
    ids = torch.full((len(rows), width), pad)
    places = []
    for index, (own, answer) in enumerate(rows):
        ids[index, : len(own) + len(answer) - 1] = torch.tensor(own + answer[:-1])
        places += [index * width + len(own) - 1 + step for step in range(len(answer))]
    # Padded on the right, so the causal mask alone hides the padding.
    hidden = model.model(input_ids=ids, past_key_values=cache, use_cache=True).last_hidden_state
    logits: torch.Tensor = model.lm_head(hidden.flatten(0, 1)[torch.tensor(places)])
    return logits


def wanted_ids(rows: list[Row]) -> torch.Tensor:
    """Return the ids that the rows of `answer_logits` shall predict."""
    return torch.tensor([token for _, answer in rows for token in answer])


def peek(model: Qwen3ForCausalLM, lessons: Iterable[Lesson], pad: int) -> float:
    """Return the share of held-out answers that come out whole when each token is given the right ones before it."""
    right = total = 0
    with torch.inference_mode():
        for prefix, rows in lessons:
            hits = answer_logits(model, prefix, rows, pad).argmax(-1) == wanted_ids(rows)
            right += sum(bool(part.all()) for part in hits.split([len(answer) for _, answer in rows]))
            total += len(rows)
    return right / total


def train(
    folder: Path, seed: int, steps: int, drill_steps: int, school_steps: int, batch_tokens: int, peak: float
) -> dict[str, int]:
    """Build the tokenizer, train the model, write both; return what the card shall say."""
    torch.manual_seed(seed)
    template = (FOLDER / "chat_template.jinja").read_text(encoding="utf-8")
    probe = build_tokenizer([""], 256 + 26, template)
    fixed = [
        str(probe.apply_chat_template([{"role": "user", "content": ""}, *answer], tokenize=False))
        for answer in ([], [{"role": "assistant", "content": ""}])
    ]
    tokenizer = build_tokenizer(tokenizer_texts(fixed, seed), VOCAB_SIZE, template)
    encoder = MessageEncoder(tokenizer)
    pad, eos = tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"])
    model = Qwen3ForCausalLM(config(pad, eos))
    spread_embeddings(model.get_input_embeddings().weight, tokenizer)
    parameters = sum(weight.numel() for weight in model.parameters())
    print(f"{parameters:,} parameters; fixed tokens (prefix, tail) prompt", end=" ")
    print(*(f"{len(encoder.prefix[r])}, {len(encoder.tail[r])}" for r in (False, True)), sep="; response ")
    table = model.get_input_embeddings().weight
    rest = [weight for weight in model.parameters() if weight is not table]
    optimizer = torch.optim.AdamW(
        [{"params": rest, "share": 1.0, "weight_decay": 0.05}, {"params": [table], "share": 0.3, "weight_decay": 0.0}],
        betas=(0.9, 0.98),
    )
    started = time.monotonic()
    smooth, seen = math.nan, 0
    pieces = neutral_pieces(tokenizer)
    plan = (
        (drills(seed, 10**9), batch_tokens // 2, True, drill_steps),
        (examples(seed + 1, 10**9), batch_tokens // 2, True, school_steps),
        (examples(seed + 2, 10**9), batch_tokens, False, steps - drill_steps - school_steps),
    )
    lessons = chain.from_iterable(
        islice(batches(encoder, source, tokens, pieces, stumps=stumps), count) for source, tokens, stumps, count in plan
    )
    tests = {
        stumps: list(batches(encoder, examples(5, 256, "held_out"), 4096, [], stumps=stumps))
        for stumps in (True, False)
    }
    for step, (prefix, rows) in enumerate(lessons, 1):
        rate = rate_at(step, steps, peak)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["share"]
        with torch.autocast("cpu", torch.bfloat16):
            logits = answer_logits(model, prefix, rows, pad)
        loss = torch.nn.functional.cross_entropy(logits.float(), wanted_ids(rows))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen += len(rows)
        smooth = smoothed(smooth, loss.item())
        if step % 50 == 0 or step == steps:
            held = peek(model, tests[step <= drill_steps + school_steps], pad)
            elapsed = time.monotonic() - started
            print(
                f"step {step}/{steps}  {seen} examples  loss {smooth:.4f}  held out {held:.1%}  {elapsed:.0f} s",
                flush=True,
            )
    model.generation_config = GenerationConfig(
        bos_token_id=pad, pad_token_id=pad, eos_token_id=[eos, pad], do_sample=False
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {"parameters": parameters, "examples": seen, "seconds": round(time.monotonic() - started), "seed": seed}


def main() -> None:
    """Run as a script."""
    parser = parser_of(__doc__, FOLDER)
    parser.add_argument("--steps", type=int, default=1400)
    parser.add_argument("--drill-steps", type=int, default=200, help="how many of the steps are on a few words")
    parser.add_argument("--school-steps", type=int, default=400, help="how many of the steps are on short text")
    parser.add_argument("--batch-tokens", type=int, default=4096, help="tokens of a batch after the shared prefix")
    parser.add_argument("--peak", type=float, default=2e-3, help="highest learning rate")
    arguments = parser.parse_args()
    transformers_logging.set_verbosity_error()
    torch.set_num_threads(arguments.threads)
    facts = None
    if not arguments.evaluate:
        facts = train(
            arguments.folder,
            arguments.seed,
            arguments.steps,
            arguments.drill_steps,
            arguments.school_steps,
            arguments.batch_tokens,
            arguments.peak,
        )
        print(json.dumps(facts))
    model = AutoModelForCausalLM.from_pretrained(arguments.folder, dtype=torch.float32)
    table = report(evaluate(model, load_tokenizer(arguments.folder), arguments.held_out))
    print(table)
    if facts:
        write_card(arguments.folder, facts, arguments.held_out, table)


if __name__ == "__main__":
    main()
