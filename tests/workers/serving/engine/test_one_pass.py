"""The one-pass engine as its callers see it: the reference's completions, and trouble that stays where it belongs."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.workers.serving.engine.random_models import as_loaded
from workers.serving.engine.completion import Completion, Conversation, EngineIdentity, PreparedPrompt
from workers.serving.engine.forward.suffix_forward import SuffixForward
from workers.serving.engine.loading import LoadedModel, load_model
from workers.serving.engine.one_pass import OnePassEngine
from workers.serving.engine.reference import ReferenceEngine

NEW_TOKENS = 12
Folders = Callable[..., Path]
CHATS: list[Conversation] = [
    *([{"role": "user", "content": text}] for text in ["hello", "", "x" * 120, "你好世界", "the quick brown fox?"]),
    [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "world"}],
    [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}, {"role": "assistant", "content": " " * 30}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b\n"}, {"role": "user", "content": " c"}],
    [{"role": "user", "content": "hello world"}],
]


def _engine(loaded: LoadedModel, **options: Any) -> OnePassEngine:
    return OnePassEngine(loaded, **{"max_new_tokens": NEW_TOKENS, "compiled": False, **options})


@pytest.fixture(scope="module")
def loaded(model_folder: Path) -> LoadedModel:
    return load_model(str(model_folder), device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def engine(loaded: LoadedModel) -> OnePassEngine:
    return _engine(loaded)


@pytest.fixture(scope="module")
def expected(loaded: LoadedModel) -> list[Completion]:
    return ReferenceEngine(loaded, max_new_tokens=NEW_TOKENS).judge(CHATS)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The shapes, rows by tokens, of the first passes run from now on."""
    shapes: list[tuple[int, int]] = []
    start = SuffixForward.start

    def watched(forward: SuffixForward, ids: torch.Tensor, *more: Any) -> Any:
        shapes.append((ids.shape[0], ids.shape[1]))
        return start(forward, ids, *more)

    monkeypatch.setattr(SuffixForward, "start", watched)
    return shapes


def test_p13_it_judges_as_the_reference_does(engine: OnePassEngine, expected: list[Completion]) -> None:
    assert engine.judge(CHATS) == expected
    assert len({item.text for item in expected}) > 5


@pytest.mark.parametrize("batch_invariant", [False, True])
def test_p7_a_judgement_does_not_depend_on_its_batch(
    loaded: LoadedModel, expected: list[Completion], batch_invariant: bool
) -> None:
    engine = _engine(loaded, batch_invariant=batch_invariant)
    assert [engine.judge([chat])[0] for chat in CHATS] == expected
    assert engine.judge(CHATS[::-1]) == expected[::-1]
    assert engine.judge(CHATS * 5) == expected * 5


def test_the_template_is_computed_once(engine: OnePassEngine, passes: list[tuple[int, int]]) -> None:
    frames = {frame.roles: frame for frame in engine.frames}
    assert all(frame.fallback_reason is None for frame in engine.frames)
    engine.judge([CHATS[0]])
    prompt = engine.prepare(CHATS[0])
    assert isinstance(prompt, PreparedPrompt)
    (shape,) = passes
    drafted = shape[1] - (len(prompt) - len(frames["user",].prefix))
    assert 0 < drafted < 40
    assert len(frames["user",].prefix) > 40


def test_duplicates_are_judged_once(
    engine: OnePassEngine, expected: list[Completion], passes: list[tuple[int, int]]
) -> None:
    assert engine.judge([CHATS[0], CHATS[5], CHATS[0], CHATS[5], CHATS[0]]) == [
        expected[0],
        expected[5],
        expected[0],
        expected[5],
        expected[0],
    ]
    assert sum(rows for rows, _ in passes) == 2


def test_what_is_drafted_follows_the_traffic(loaded: LoadedModel, expected: list[Completion]) -> None:
    engine = _engine(loaded, max_new_tokens=4)
    for _ in range(3):
        assert [item.text for item in engine.judge(CHATS * 4)] == [item.text for item in engine.judge(CHATS)] * 4
    assert all(item.finish == "length" for item in engine.judge(CHATS) if item.output_tokens == 4)
    assert len(expected) == len(CHATS)


@pytest.mark.parametrize("new_tokens", [1, 2, 7, 40])
def test_p13_the_token_limit_is_the_references(loaded: LoadedModel, new_tokens: int) -> None:
    reference = ReferenceEngine(loaded, max_new_tokens=new_tokens)
    assert _engine(loaded, max_new_tokens=new_tokens).judge(CHATS) == reference.judge(CHATS)


def test_p6_bad_conversations_leave_their_neighbours_alone(engine: OnePassEngine, expected: list[Completion]) -> None:
    bad: list[Conversation] = [[], [{"role": "tool", "content": "x"}], [{"role": "user", "content": "\ud800"}]]
    judged = engine.judge([bad[0], CHATS[0], bad[1], CHATS[5], bad[2]])
    assert [item.error for item in judged] == ["empty_conversation", None, "unsupported_role", None, "invalid_text"]
    assert [judged[1], judged[3]] == [expected[0], expected[5]]


def test_nothing_in_nothing_out(engine: OnePassEngine) -> None:
    assert engine.judge([]) == []
    assert engine.run([]) == []


def test_p6_non_finite_logits_are_the_error_of_that_conversation_alone(make_folder: Folders) -> None:
    loaded = load_model(str(make_folder(tie_word_embeddings=False)), device="cpu")
    engine = _engine(loaded)
    healthy = engine.judge(CHATS)
    assert healthy == ReferenceEngine(loaded, max_new_tokens=NEW_TOKENS).judge(CHATS)
    poisoned: Conversation = [{"role": "user", "content": "ßßß"}]
    prompts = [engine.prepare(chat) for chat in [poisoned, *CHATS]]
    bad, *everyday = [set(prompt.token_ids.tolist()) for prompt in prompts if isinstance(prompt, PreparedPrompt)]
    embeddings: Any = loaded.model.get_input_embeddings()
    embeddings.weight[sorted(bad.difference(*everyday))] = float("nan")
    judged = engine.judge([*CHATS[:3], poisoned, *CHATS[3:]])
    assert judged[3] == Completion.failed("non_finite_logits", prompt_tokens=len(prompts[0]))  # type: ignore[arg-type]
    assert judged[:3] + judged[4:] == healthy


def test_p6_an_infinite_logit_of_any_token_is_an_error(make_folder: Folders) -> None:
    loaded = load_model(str(make_folder(tie_word_embeddings=False)), device="cpu")
    head: Any = loaded.model.get_output_embeddings()
    head.weight[300] = float("inf")
    assert {item.error for item in _engine(loaded).judge(CHATS)} == {"non_finite_logits"}


def test_p6_a_batch_that_does_not_fit_is_judged_in_halves(
    loaded: LoadedModel, expected: list[Completion], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = _engine(loaded)
    start = SuffixForward.start
    refused = 0

    def short_of_memory(forward: SuffixForward, ids: torch.Tensor, *more: Any) -> Any:
        nonlocal refused
        if ids.shape[0] > 1:
            refused += 1
            raise torch.OutOfMemoryError("no memory left")
        return start(forward, ids, *more)

    monkeypatch.setattr(SuffixForward, "start", short_of_memory)
    assert engine.judge(CHATS) == expected
    assert refused > 0
    monkeypatch.setattr(SuffixForward, "start", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("none")))
    with pytest.raises(torch.OutOfMemoryError):
        engine.judge(CHATS)


def test_p6_memory_that_ends_in_a_later_pass_spoils_nothing(
    loaded: LoadedModel, expected: list[Completion], monkeypatch: pytest.MonkeyPatch
) -> None:
    resume = SuffixForward.resume
    calls = 0

    def short_of_memory(forward: SuffixForward, *inputs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls in {3, 7}:
            raise torch.OutOfMemoryError("no memory left")
        return resume(forward, *inputs)

    monkeypatch.setattr(SuffixForward, "resume", short_of_memory)
    assert _engine(loaded).judge(CHATS) == expected
    assert calls > 7


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for m in messages %}{{ m.content }} said {{ m.role }}\n{% endfor %}", "begins with a message"),
        ("{% for m in messages %}{{ m.role }} a{{ m.content }}\n{% endfor %}", "tokens before it"),
    ],
)
def test_p13_without_a_common_start_prompts_are_computed_whole(
    make_folder: Folders, template: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = load_model(str(make_folder(template=template)), device="cpu")
    with caplog.at_level(logging.WARNING):
        engine = _engine(loaded)
    reasons: Sequence[str | None] = [frame.fallback_reason for frame in engine.frames]
    assert any(reason in (said or "") for said in reasons)
    assert reason in caplog.text
    assert engine.judge(CHATS) == ReferenceEngine(loaded, max_new_tokens=NEW_TOKENS).judge(CHATS)


def test_p13_a_prompt_that_begins_otherwise_is_computed_whole(
    make_folder: Folders, passes: list[tuple[int, int]]
) -> None:
    template = (
        "You guard the quick brown fox {{ messages | length }}: {% for m in messages %} {{ m.content }}\n{% endfor %}"
    )
    loaded = load_model(str(make_folder(template=template)), device="cpu")
    engine = _engine(loaded)
    turns = [{"role": role, "content": "hello"} for role in ["user", "assistant"] * 4]
    passes.clear()
    assert engine.judge([turns]) == ReferenceEngine(loaded, max_new_tokens=NEW_TOKENS).judge([turns])
    assert passes[0][1] >= engine.judge([turns])[0].prompt_tokens


def test_the_longest_prompt_leaves_room_for_the_longest_answer(loaded: LoadedModel, engine: OnePassEngine) -> None:
    tokens = engine.judge([CHATS[0]])[0].prompt_tokens
    assert _engine(loaded, max_new_tokens=1024 - tokens).judge([CHATS[0]])[0].error is None
    overflow = Completion.failed("context_overflow", prompt_tokens=tokens)
    assert _engine(loaded, max_new_tokens=1025 - tokens).judge([CHATS[0]]) == [overflow]
    assert _engine(loaded, max_prompt_tokens=tokens - 1).judge([CHATS[0]]) == [overflow]
    with pytest.raises(ValueError, match="max_new_tokens 1024"):
        _engine(loaded, max_new_tokens=1024)


def test_the_identity_says_what_a_verdict_depends_on(loaded: LoadedModel, engine: OnePassEngine) -> None:
    reference = ReferenceEngine(loaded, max_new_tokens=NEW_TOKENS).identity
    assert engine.identity == EngineIdentity(
        loaded.name, loaded.revision, reference.prompt_sha256, "one_pass", "float32", "cpu"
    )


def test_layers_that_it_does_not_know_are_refused_by_name(model_folder: Path, make_folder: Folders) -> None:
    sizes: dict[str, Any] = {"vocab_size": 610, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    llama: Any = LlamaForCausalLM(LlamaConfig(num_attention_heads=1, **sizes))
    with pytest.raises(ValueError, match=r"guard\.engine one_pass .* reference .*LlamaForCausalLM"):
        OnePassEngine(as_loaded(llama, model_folder))
    sliding = make_folder(use_sliding_window=True, sliding_window=8, max_window_layers=1)
    with pytest.raises(ValueError, match=r"guard\.engine one_pass .*sliding_attention"):
        OnePassEngine.load(str(sliding), device="cpu")


def test_biases_are_merged_like_weights(make_folder: Folders) -> None:
    loaded = load_model(str(make_folder(attention_bias=True)), device="cpu")
    for layer in loaded.model.get_decoder().layers:
        for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj):
            torch.nn.init.normal_(projection.bias)
    expected = ReferenceEngine(loaded, max_new_tokens=NEW_TOKENS).judge(CHATS)
    assert _engine(loaded).judge(CHATS) == expected
