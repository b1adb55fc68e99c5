"""Held-out figures of the tiny model, by plain greedy generation.

Does not know how the model was made, and says nothing about text that the corpus did not write.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from infra.tiny_model.tokenizer import Conversation, MessageEncoder
from workers.demo.corpus import Example, examples

HELD_OUT_SEED = 1
Figures = dict[str, tuple[int, int, int]]
"""Group of examples to (examples, exact answers, right first lines)."""


def generate(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, conversations: Iterable[Conversation], batch: int = 32
) -> list[str]:
    """Return the greedy answer to each conversation, in order: at most 32 new tokens, the end token left out."""
    encoder = MessageEncoder(tokenizer)
    prompts = [encoder.ids(conversation) for conversation in conversations]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    answers = [""] * len(prompts)
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        inputs = tokenizer.pad(
            {"input_ids": [prompts[index] for index in part]}, padding_side="left", return_tensors="pt"
        )
        with torch.inference_mode():
            ids = model.generate(**inputs, do_sample=False, max_new_tokens=32)[:, inputs["input_ids"].shape[1] :]
        for index, row in zip(part, ids.tolist(), strict=True):
            end = next((place for place, token in enumerate(row) if token == tokenizer.eos_token_id), len(row))
            answers[index] = tokenizer.decode(row[:end], skip_special_tokens=False)
    return answers


def evaluate(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, count: int, show: int = 20) -> Figures:
    """Judge `count` held-out examples and count right answers by group; print the first `show` wrong ones."""
    asked = list(examples(HELD_OUT_SEED, count, "held_out"))
    model.eval()
    figures: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for example, answer in zip(asked, generate(model, tokenizer, [e.conversation for e in asked]), strict=True):
        exact = answer == example.target
        severity = answer.split("\n")[0] == example.target.split("\n")[0]
        if not exact and show > 0:  # which mistakes, not only how many
            show -= 1
            print(f"wrong: {example.kind} {repr(example.conversation)[:600]} wanted {example.target!r} got {answer!r}")  # noqa: T201
        for group in _groups(example):
            figures[group] = [figures[group][0] + 1, figures[group][1] + exact, figures[group][2] + severity]
    return {group: (row[0], row[1], row[2]) for group, row in figures.items()}


def _groups(example: Example) -> Iterable[str]:
    yield "all"
    yield f"{example.task} {example.severity}"
    if example.severity != "Off-grammar":
        yield "within the grammar"
    if example.category:
        yield f"category {example.category}"
    if example.refusal is not None:
        yield f"refusal {'Yes' if example.refusal else 'No'}"
    yield f"message {example.kind}"
    yield f"language {example.language}"


def report(figures: Figures) -> str:
    """Return the figures as a Markdown table, `all` first."""
    lines = ["| held-out group | examples | exact answer | severity line |", "|---|---|---|---|"]
    for group in sorted(figures, key=lambda name: (name != "all", name)):
        count, exact, severity = figures[group]
        lines.append(f"| {group} | {count} | {exact / count:.1%} | {severity / count:.1%} |")
    return "\n".join(lines)
