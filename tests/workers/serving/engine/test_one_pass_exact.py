"""Exactness (P13): answers and logits are those of plain greedy decoding, whatever is drafted and batched with what."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.workers.serving.engine.random_models import as_loaded, full_logits, greedy, prompt_of, random_model
from workers.serving.engine.completion import Conversation, PreparedPrompt
from workers.serving.engine.forward import suffix_forward
from workers.serving.engine.forward.attention import RowAttention
from workers.serving.engine.forward.suffix_forward import SuffixForward
from workers.serving.engine.loading import LoadedModel, load_model
from workers.serving.engine.one_pass import OnePassEngine
from workers.serving.engine.passes import PassLimits
from workers.serving.engine.reference import ReferenceEngine
from workers.serving.engine.verdict_decoder import Answer, VerdictDecoder

_LOG = logging.getLogger(__name__)
NEW_TOKENS = 10
ENDS = (602, 600)
TOLERANCE = 1e-4
PROMPTS: list[list[int]] = [
    [*range(1, 41), *middle, *range(50, 70)] for middle in ([], [7], [9, 8], [8, 9], range(100, 160), [3] * 20)
]
PROMPTS += [[5], [5, 6], list(range(1, 41)), list(range(200, 400)), [*range(1, 41), 99]]


class _Told:
    """Drafts that know the answers, except where they are told to be wrong."""

    def __init__(self, answers: dict[tuple[int, ...], list[int]], wrong_at: Sequence[int]) -> None:
        self._answers = list(answers.values())
        self._wrong_at = wrong_at

    def after(self, _task: str, written: Sequence[int]) -> list[int]:
        place = len(written)
        known = next((ids for ids in self._answers if ids[:place] == list(written)), self._answers[0])
        draft = [(t + 1) % 600 if at in self._wrong_at else t for at, t in enumerate(known) if t not in ENDS]
        return draft[place:]

    def note(self, _task: str, answer: Sequence[int]) -> None:
        assert not set(answer) & set(ENDS)


def _decoded(
    forward: SuffixForward,
    prompts: Sequence[PreparedPrompt],
    drafts: Any,
    vocabulary: int,
    *,
    prefix: int = 40,
    limits: PassLimits | None = None,
) -> list[Answer]:
    """Answers with the logits of the whole vocabulary."""
    decoder = VerdictDecoder(
        forward,
        [prompt_of(PROMPTS[0][:prefix]).token_ids],
        drafts,
        end_ids=ENDS,
        max_new_tokens=NEW_TOKENS,
        limits=limits or PassLimits(tokens=300, rows=4, padding=0.3),
        label_ids=range(vocabulary),
    )
    return decoder.decode(prompts)


def _worst(model: Any, prompts: Sequence[PreparedPrompt], answers: Sequence[Answer]) -> float:
    """The largest difference of any logit to transformers' forward of prompt and answer."""
    differences: list[float] = [
        (torch.cat(answer.label_logits) - full_logits(model, prompt.token_ids.tolist(), answer.ids)).abs().max().item()
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    return max(differences)


@pytest.fixture(scope="module")
def tiny(model_folder: Path) -> LoadedModel:
    return load_model(str(model_folder), device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def truth(tiny: LoadedModel) -> dict[tuple[int, ...], list[int]]:
    return {tuple(ids): greedy(tiny.model, ids, new_tokens=NEW_TOKENS, end_ids=ENDS) for ids in PROMPTS}


@pytest.mark.parametrize("wrong_at", [(), range(NEW_TOKENS), *[(place,) for place in range(NEW_TOKENS)], (1, 3, 4)])
def test_p13_answers_and_logits_do_not_depend_on_what_is_drafted(
    tiny: LoadedModel, truth: dict[tuple[int, ...], list[int]], wrong_at: Sequence[int]
) -> None:
    prompts = [prompt_of(ids) for ids in PROMPTS]
    answers = _decoded(SuffixForward(tiny.model), prompts, _Told(truth, wrong_at), 610)
    assert [answer.ids for answer in answers] == list(truth.values())
    assert _worst(tiny.model, prompts, answers) < TOLERANCE


def test_a_right_draft_takes_one_pass_and_none_takes_one_for_each_token(
    tiny: LoadedModel, truth: dict[tuple[int, ...], list[int]]
) -> None:
    forward = SuffixForward(tiny.model)
    for ids, answer in truth.items():
        told = {ids: answer}
        assert _decoded(forward, [prompt_of(ids)], _Told(told, ()), 610)[0].passes == 1
        assert _decoded(forward, [prompt_of(ids)], _Told(told, range(99)), 610)[0].passes == len(answer)


@pytest.mark.parametrize("prefix", [0, 1, 39, 40])
def test_p13_any_prefix_will_do(tiny: LoadedModel, truth: dict[tuple[int, ...], list[int]], prefix: int) -> None:
    prompts = [prompt_of(ids) for ids in PROMPTS]
    answers = _decoded(SuffixForward(tiny.model), prompts, _Told(truth, (4,)), 610, prefix=prefix)
    assert [answer.ids for answer in answers] == list(truth.values())
    assert _worst(tiny.model, prompts, answers) < TOLERANCE


def test_p13_the_fused_attention_of_gpus_is_as_exact(
    tiny: LoadedModel, truth: dict[tuple[int, ...], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.serving.engine.forward.attention._MOST_SCORES", 0)
    prompts = [prompt_of(ids) for ids in PROMPTS]
    answers = _decoded(SuffixForward(tiny.model), prompts, _Told(truth, (1, 4)), 610)
    assert [answer.ids for answer in answers] == list(truth.values())
    assert _worst(tiny.model, prompts, answers) < TOLERANCE


@pytest.mark.parametrize("at_once", [1, 16, 50, 64])
def test_p9_long_prompts_go_through_in_parts(
    tiny: LoadedModel, truth: dict[tuple[int, ...], list[int]], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.serving.engine.verdict_decoder._TOKENS_AT_ONCE", at_once)
    widths: list[int] = []
    forward = SuffixForward(tiny.model)

    def watched(run: Callable[..., Any]) -> Callable[..., Any]:
        def wide(ids: torch.Tensor, *more: Any) -> Any:
            widths.append(ids.shape[1])
            return run(ids, *more)

        return wide

    for name in ("start", "resume"):
        monkeypatch.setattr(forward, name, watched(getattr(forward, name)))
    prompts = [prompt_of(ids) for ids in PROMPTS]
    answers = _decoded(forward, prompts, _Told(truth, (4,)), 610)
    assert [answer.ids for answer in answers] == list(truth.values())
    assert _worst(tiny.model, prompts, answers) < TOLERANCE
    assert max(widths[1:]) <= max(at_once, 40) * 2 + NEW_TOKENS + 20


def _shifted(forward: SuffixForward, patch: pytest.MonkeyPatch) -> None:
    rotary: Any = forward._rotary  # noqa: SLF001 - what is broken on purpose is inside
    patch.setattr(forward, "_rotary", lambda hidden, places: rotary(hidden, places + (places >= 40)))


def _unmasked(_forward: SuffixForward, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        suffix_forward,
        "RowAttention",
        lambda seen, *more, **sizes: RowAttention(torch.ones_like(seen), *more, **sizes),
    )


def _one_token_else(forward: SuffixForward, patch: pytest.MonkeyPatch) -> None:
    start = forward.start
    patch.setattr(forward, "start", lambda ids, *more: start(torch.where(ids == 55, 56, ids), *more))


def _stale_cache(forward: SuffixForward, patch: pytest.MonkeyPatch) -> None:
    resume = forward.resume
    patch.setattr(forward, "resume", lambda ids, filled, *more: resume(ids, filled - 1, *more))


@pytest.mark.parametrize("fault", [_shifted, _unmasked, _one_token_else, _stale_cache])
def test_each_fault_is_far_outside_the_tolerance(
    tiny: LoadedModel,
    truth: dict[tuple[int, ...], list[int]],
    fault: Callable[[SuffixForward, pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The checks above would see these: a wrong position, no mask, one other token, a cache off by one."""
    forward = SuffixForward(tiny.model)
    prompts = [prompt_of(ids) for ids in PROMPTS[:6]]
    fault(forward, monkeypatch)
    answers = _decoded(forward, prompts, _Told(truth, (4,)), 610)
    monkeypatch.undo()
    assert _worst(tiny.model, prompts, answers) > 100 * TOLERANCE


@pytest.mark.parametrize("shape", ["0.6B", "4B"])
def test_p13_logits_of_the_real_widths(shape: str) -> None:
    vocabulary, layers = (30_000, 2) if shape == "0.6B" else (2_000, 1)
    model = random_model(shape, layers=layers, dtype=torch.float32, vocabulary=vocabulary)
    few = [PROMPTS[0], PROMPTS[4], PROMPTS[7]]
    prompts = [prompt_of(ids) for ids in few]
    truth = {tuple(ids): greedy(model, ids, new_tokens=4, end_ids=ENDS) for ids in few}
    before = [full_logits(model, ids, answer) for ids, answer in zip(few, truth.values(), strict=True)]
    answers = _decoded(SuffixForward(model), prompts, _Told(truth, (1,)), vocabulary)
    assert [answer.ids[:4] for answer in answers] == list(truth.values())
    # Merging the weights has left the model what it was, too.
    worst = max(
        (torch.cat(answer.label_logits)[:4] - logits).abs().max().item()
        for answer, logits in zip(answers, before, strict=True)
    )
    _LOG.info("fp32, %s widths: largest difference of a logit %.1e", shape, worst)
    assert worst < TOLERANCE
    assert _worst(model, prompts, answers) < TOLERANCE


def test_p13_the_engines_agree_on_the_real_widths(model_folder: Path) -> None:
    loaded = as_loaded(random_model("0.6B", layers=2, dtype=torch.float32, vocabulary=2_000), model_folder)
    reference = ReferenceEngine(loaded, max_new_tokens=NEW_TOKENS)
    contents = ["hello", "", "你好世界 " * 9, "the quick brown fox?", "hello"]
    chats: list[Conversation] = [[{"role": "user", "content": content}] for content in contents]
    chats += [[*chat, {"role": "assistant", "content": content}] for chat, content in zip(chats, contents, strict=True)]
    expected = reference.judge(chats)
    assert OnePassEngine(loaded, max_new_tokens=NEW_TOKENS).judge(chats) == expected
    assert (
        OnePassEngine(loaded, max_new_tokens=NEW_TOKENS, batch_invariant=True, compiled=False).judge(chats) == expected
    )
