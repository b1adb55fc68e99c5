"""Exactness in bfloat16: every difference to transformers is a near-tie, and as rare as transformers' own."""

import copy
import logging
import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from tests.workers.serving.engine.random_models import full_logits, prefix_cached_logits, prompt_of, random_model
from workers.serving.engine.completion import PreparedPrompt, Task
from workers.serving.engine.forward.suffix_forward import SuffixForward
from workers.serving.engine.passes import PassLimits
from workers.serving.engine.verdict_decoder import Answer, VerdictDecoder

_LOG = logging.getLogger(__name__)
PREFIX, MESSAGES, NEW_TOKENS, VOCABULARY = 60, 16, 8, 12_000


class _Fixed:
    """One draft for all."""

    def __init__(self, draft: list[int]) -> None:
        self._draft = draft

    def after(self, task: Task, written: Sequence[int]) -> list[int]:
        del task
        return self._draft[len(written) :]

    def note(self, task: Task, answer: Sequence[int]) -> None:
        del task, answer


@pytest.fixture(scope="module")
def model() -> Any:
    return random_model("0.6B", layers=2, dtype=torch.bfloat16, vocabulary=VOCABULARY)


@pytest.fixture(scope="module")
def prompts() -> list[PreparedPrompt]:
    chooser = random.Random(5)
    head = [chooser.randrange(VOCABULARY) for _ in range(PREFIX)]
    tail = [chooser.randrange(VOCABULARY) for _ in range(30)]
    middles = [[chooser.randrange(VOCABULARY) for _ in range(chooser.randint(0, 30))] for _ in range(MESSAGES)]
    return [prompt_of([*head, *middle, *tail]) for middle in middles]


def _decoded(model: Any, prompts: list[PreparedPrompt], *, rows: int) -> list[Answer]:
    decoder = VerdictDecoder(
        SuffixForward(model),
        [prompts[0].token_ids[:PREFIX]],
        _Fixed(list(range(100, 100 + NEW_TOKENS))),
        end_ids={VOCABULARY},
        max_new_tokens=NEW_TOKENS,
        limits=PassLimits(tokens=1 if rows == 1 else rows * 100, rows=rows, padding=0.5),
        label_ids=range(VOCABULARY),
    )
    return decoder.decode(prompts)


def _rows(answers: list[Answer]) -> torch.Tensor:
    return torch.cat([torch.cat(answer.label_logits) for answer in answers])


def test_p13_differences_in_bfloat16_are_near_ties(model: Any, prompts: list[PreparedPrompt]) -> None:
    answers = _decoded(copy.deepcopy(model), prompts, rows=8)
    pairs = [(prompt.token_ids.tolist(), answer.ids) for prompt, answer in zip(prompts, answers, strict=True)]
    ours = _rows(answers)
    full = torch.cat([full_logits(model, *pair) for pair in pairs]).float()
    # Transformers' own other ways: its cache, and its other attention.
    cached = torch.cat([prefix_cached_logits(model, *pair, PREFIX) for pair in pairs]).float()
    plain = copy.deepcopy(model)
    plain.set_attn_implementation("eager")
    others = {"cached": cached, "eager": torch.cat([full_logits(plain, *pair) for pair in pairs]).float()}
    exact = copy.deepcopy(model).float()
    truth = torch.cat([full_logits(exact, *pair) for pair in pairs])

    noise = max((other - full).abs().max().item() for other in others.values())
    differing = (ours.argmax(-1) != full.argmax(-1)).nonzero().flatten().tolist()
    margins = [(full[row].max() - full[row, ours[row].argmax()]).item() for row in differing]
    controls = {way: (other.argmax(-1) != full.argmax(-1)).float().mean().item() for way, other in others.items()}
    _LOG.info(
        "bf16: %d of %d rows differ, margins %s; transformers' own ways: %s; their largest difference of a logit %.3f",
        len(differing), len(full), [round(margin, 3) for margin in margins], controls, noise,
    )  # fmt: skip
    assert all(margin <= 2 * noise for margin in margins)
    assert (ours - full).abs().max().item() <= 1.5 * noise
    # As near to the truth as transformers' own ways are.
    errors = [(way - truth).abs().mean().item() for way in (full, *others.values())]
    assert (ours - truth).abs().mean().item() <= 1.1 * max(errors)
    assert len(differing) / len(full) <= 2 * max(controls.values()) + 0.03
