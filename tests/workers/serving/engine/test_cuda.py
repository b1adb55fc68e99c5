"""The one-pass engine on a GPU: exact there, too, one wait for the device in a pass, and batches that do not fit.

Random weights of the real shapes with two layers. Skipped where there is no GPU; run by `make test-gpu`.
"""

import gc
import logging
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch

from tests.workers.serving.engine.random_models import (
    OneDraft,
    full_logits,
    greedy,
    prefix_cached_logits,
    prompt_of,
    random_model,
)
from workers.serving.engine.completion import PreparedPrompt
from workers.serving.engine.forward.graphs import with_graphs
from workers.serving.engine.forward.suffix_forward import SuffixForward
from workers.serving.engine.one_pass import OnePassEngine, invariant_passes, limits_of
from workers.serving.engine.reference import ReferenceEngine
from workers.serving.engine.verdict_decoder import Answer, VerdictDecoder

_LOG = logging.getLogger(__name__)
DEVICE = torch.device("cuda")
PREFIX, MESSAGES, NEW_TOKENS, VOCABULARY = 60, 48, 8, 12_000

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE.type == "cuda" and not torch.cuda.is_available(), reason="no GPU"),
    pytest.mark.timeout(600),
]


@pytest.fixture(autouse=True)
def _full_precision() -> Iterator[None]:
    """Float32 means float32: no TF32 for either side."""
    torch.set_float32_matmul_precision("highest")
    yield
    gc.collect()
    if DEVICE.type == "cuda":
        torch.cuda.empty_cache()


def prompts_of(count: int, *, longest: int = 30) -> list[PreparedPrompt]:
    chooser = random.Random(5)
    head = [chooser.randrange(VOCABULARY) for _ in range(PREFIX)]
    tail = [chooser.randrange(VOCABULARY) for _ in range(30)]
    middles = [[chooser.randrange(VOCABULARY) for _ in range(chooser.randint(0, longest))] for _ in range(count)]
    return [prompt_of([*head, *middle, *tail]) for middle in middles]


def model_of(shape: str, dtype: torch.dtype) -> Any:
    return random_model(shape, layers=2, dtype=dtype, vocabulary=VOCABULARY).to(DEVICE)


def decoder_of(
    model: Any, prompts: Sequence[PreparedPrompt], draft: Sequence[int], *, batch_invariant: bool = False
) -> VerdictDecoder:
    forward, limits = SuffixForward(model), limits_of(DEVICE)
    if batch_invariant:
        forward, limits = invariant_passes(forward, compiled=False)
    return VerdictDecoder(
        with_graphs(forward, settled=True),
        [prompts[0].token_ids[:PREFIX]],
        OneDraft(draft),
        end_ids={VOCABULARY - 1},
        max_new_tokens=NEW_TOKENS,
        limits=limits,
        batch_invariant=batch_invariant,
        label_ids=range(VOCABULARY),
    )


def logits_of(answers: Sequence[Answer]) -> torch.Tensor:
    return torch.cat([torch.cat(answer.label_logits).float().cpu() for answer in answers])


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("shape", ["0.6B", "4B", "8B"])
def test_p13_answers_are_those_of_plain_greedy_decoding(shape: str, compiled: bool) -> None:
    model, prompts = model_of(shape, torch.float32), prompts_of(MESSAGES)
    expected = [
        greedy(model, prompt.token_ids.tolist(), new_tokens=NEW_TOKENS, end_ids={VOCABULARY - 1}) for prompt in prompts
    ]
    decoder = decoder_of(model, prompts, expected[0])  # right for the first, wrong for most
    if compiled:
        assert decoder.compile()
    # As they are, then captured, then replayed.
    for _ in range(3):
        answers = decoder.decode(prompts)
        assert [answer.ids for answer in answers] == expected
    truth = [
        full_logits(model, prompt.token_ids.tolist(), answer.ids)
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    assert (logits_of(answers) - torch.cat(truth).float().cpu()).abs().max().item() < 1e-3


def test_p13_differences_in_bfloat16_are_near_ties() -> None:
    model, prompts = model_of("0.6B", torch.bfloat16), prompts_of(MESSAGES)
    answers = decoder_of(model, prompts, range(100, 100 + NEW_TOKENS)).decode(prompts)
    pairs = [(prompt.token_ids.tolist(), answer.ids) for prompt, answer in zip(prompts, answers, strict=True)]
    ours = logits_of(answers)
    full = torch.cat([full_logits(model, *pair) for pair in pairs]).float().cpu()
    cached = torch.cat([prefix_cached_logits(model, *pair, PREFIX) for pair in pairs]).float().cpu()

    noise = (cached - full).abs().max().item()
    differing = (ours.argmax(-1) != full.argmax(-1)).nonzero().flatten().tolist()
    margins = [(full[row].max() - full[row, ours[row].argmax()]).item() for row in differing]
    control = (cached.argmax(-1) != full.argmax(-1)).float().mean().item()
    _LOG.info(
        "bf16: %d of %d rows differ, margins %s; transformers' own cache: %.4f, largest difference of a logit %.3f",
        len(differing), len(full), [round(margin, 3) for margin in margins], control, noise,
    )  # fmt: skip
    assert all(margin <= 2 * noise for margin in margins)
    assert len(differing) / len(full) <= 2 * control + 0.03


def test_p7_batch_invariance_leaves_not_a_bit_to_the_batch() -> None:
    model, prompts = model_of("0.6B", torch.bfloat16), prompts_of(16)
    shuffled = random.Random(2).sample(prompts, len(prompts))
    decoder = decoder_of(model, prompts, range(NEW_TOKENS), batch_invariant=True)
    first = {id(prompt): answer for prompt, answer in zip(prompts, decoder.decode(prompts), strict=True)}
    # Captured and then replayed from graphs.
    for _ in range(3):
        again = {id(prompt): answer for prompt, answer in zip(shuffled, decoder.decode(shuffled), strict=True)}
        assert all(torch.equal(logits_of([first[key]]), logits_of([again[key]])) for key in first)


@pytest.mark.skipif(DEVICE.type != "cuda", reason="only a GPU has graphs")
def test_p13_a_graph_changes_not_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    model, prompts = model_of("0.6B", torch.bfloat16), prompts_of(MESSAGES)
    decoder = decoder_of(model, prompts, range(NEW_TOKENS))
    replay, counted = torch.cuda.CUDAGraph.replay, []
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda graph: (counted.append(1), replay(graph)))
    before, *others = (logits_of(decoder.decode(prompts)) for _ in range(3))

    assert counted, "nothing was replayed"
    assert all(torch.equal(before, other) for other in others)


@pytest.mark.skipif(DEVICE.type != "cuda", reason="only a GPU is waited for")
def test_the_forward_never_waits_for_the_device() -> None:
    model, prompts = model_of("0.6B", torch.bfloat16), prompts_of(8, longest=1)
    forward = SuffixForward(model)
    ids = torch.tensor([prompt.token_ids.tolist()[PREFIX : PREFIX + 30] for prompt in prompts], device=DEVICE)
    places = torch.arange(20, 30, device=DEVICE).expand(len(prompts), -1)
    with torch.inference_mode():
        prefix = forward.prefix(prompts[0].token_ids[:PREFIX].tolist())
        before = forward.start(ids, prefix, places)[0]
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            unwaited = forward.start(ids, prefix, places)[0]  # raises where it waits
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert before is not None
    assert unwaited is not None
    assert torch.equal(before, unwaited)


@pytest.mark.skipif(DEVICE.type != "cuda", reason="only a GPU's memory can be limited")
def test_a_batch_that_does_not_fit_is_run_in_pieces() -> None:
    model, prompts = model_of("0.6B", torch.bfloat16), prompts_of(512, longest=400)
    decoder = decoder_of(model, prompts, range(NEW_TOKENS))
    whole = [answer.ids for answer in decoder.decode(prompts[:4])]
    used = torch.cuda.memory_reserved() + (1 << 30)
    torch.cuda.set_per_process_memory_fraction(used / torch.cuda.get_device_properties(DEVICE).total_memory)
    try:
        answers = decoder.decode(prompts)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)

    assert len(answers) == len(prompts)
    assert [len(answer.ids) for answer in answers[:4]] == [len(ids) for ids in whole]


def test_the_demo_model_gives_the_same_text_by_both_engines() -> None:
    conversations = [
        [{"role": "user", "content": text}] for text in ("hello there", "glorb the frim", "x " * 50, "你好", "?")
    ]
    texts = []
    for engine in (OnePassEngine, ReferenceEngine):
        loaded: Any = engine.load("demo", device=DEVICE.type, dtype="fp32")
        prepared = [loaded.prepare(conversation) for conversation in conversations]
        texts.append([completion.text for completion in loaded.run(prepared)])

    assert texts[0] == texts[1]
