"""The reference engine: plain greedy decoding, whatever else is in the batch."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from workers.serving.engine import reference
from workers.serving.engine.completion import Completion, Conversation, EngineIdentity, PreparedPrompt
from workers.serving.engine.loading import LoadedModel, load_model
from workers.serving.engine.reference import ReferenceEngine

NEW_TOKENS = 12
Folders = Callable[..., Path]
CHATS: list[Conversation] = [
    *([{"role": "user", "content": text}] for text in ["hello", "", "x" * 120, "你好世界", "the quick brown fox?"]),
    [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "world"}],
    [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}, {"role": "assistant", "content": " " * 30}],
    [{"role": "user", "content": "hello world"}],
]


def _load(folder: Path, *, max_new_tokens: int = NEW_TOKENS, max_prompt_tokens: int | None = None) -> ReferenceEngine:
    limits: dict[str, Any] = {"max_new_tokens": max_new_tokens, "max_prompt_tokens": max_prompt_tokens}
    return ReferenceEngine.load(str(folder), device="cpu", dtype="fp32", **limits)


def _generated(folder: Path, chat: Conversation) -> list[int]:
    """New ids of the call on the model's card, for one conversation alone."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    inputs = tokenizer.apply_chat_template(chat, return_tensors="pt", return_dict=True)
    output = model.generate(**inputs, do_sample=False, max_new_tokens=NEW_TOKENS)
    new_ids: list[int] = output[0, inputs["input_ids"].shape[1] :].tolist()
    return new_ids


@pytest.fixture(scope="module")
def engine(model_folder: Path) -> ReferenceEngine:
    return _load(model_folder)


@pytest.fixture
def early_folder(model_folder: Path, make_folder: Folders) -> Path:
    """The same weights with an end token that the first chat's answer reaches in its third place."""
    return make_folder(eos_token_id=[602, 600, _generated(model_folder, CHATS[0])[2]])


@pytest.fixture
def warnings_of_transformers() -> Iterator[list[str]]:
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    ear = Ear(logging.WARNING)
    logging.getLogger("transformers").addHandler(ear)
    yield heard
    logging.getLogger("transformers").removeHandler(ear)


def test_p13_a_batch_writes_what_each_conversation_gets_alone(model_folder: Path, early_folder: Path) -> None:
    for folder in (model_folder, early_folder):
        engine, ends = _load(folder), load_model(str(folder), device="cpu").end_ids
        decode: Any = AutoTokenizer.from_pretrained(folder)
        judged = engine.judge(CHATS)
        for chat, completion in zip(CHATS, judged, strict=True):
            ids = _generated(folder, chat)
            stopped = ids[-1] in ends
            assert completion.text == decode.decode(ids[:-1] if stopped else ids)
            assert (completion.output_tokens, completion.finish) == (len(ids), "stop" if stopped else "length")
            assert (completion.error, completion.scores) == (None, None)
            assert completion.prompt_tokens == len(decode.apply_chat_template(chat, return_dict=False))
    assert judged[0].output_tokens == 3
    assert {item.finish for item in judged} == {"stop", "length"}


def test_p7_a_judgement_does_not_depend_on_its_batch(engine: ReferenceEngine) -> None:
    together = engine.judge(CHATS)
    assert len({item.text for item in together}) == len(CHATS)
    assert [engine.judge([chat])[0] for chat in CHATS] == together
    assert engine.judge(CHATS[::-1]) == together[::-1]


def test_shipped_sampling_and_penalties_are_not_used_and_not_warned_about(
    engine: ReferenceEngine, make_folder: Folders, warnings_of_transformers: list[str]
) -> None:
    folder = make_folder(eos_token_id=[602, 600])
    shipped = (folder / "generation_config.json").read_text()
    (folder / "generation_config.json").write_text(shipped.replace("{", '{"repetition_penalty": 3.0,', 1))
    assert '"temperature": 0.6' in shipped
    assert _load(folder).judge(CHATS) == engine.judge(CHATS)
    assert warnings_of_transformers == []


def test_p6_bad_conversations_leave_their_neighbours_alone(engine: ReferenceEngine) -> None:
    bad: list[Conversation] = [[], [{"role": "tool", "content": "x"}], [{"role": "user", "content": "\ud800"}]]
    judged = engine.judge([bad[0], CHATS[0], bad[1], CHATS[5], bad[2]])
    assert [item.error for item in judged] == ["empty_conversation", None, "unsupported_role", None, "invalid_text"]
    assert [judged[1], judged[3]] == engine.judge([CHATS[0], CHATS[5]])


def test_nothing_in_nothing_out(engine: ReferenceEngine) -> None:
    assert engine.judge([]) == []
    assert engine.run([]) == []


def _prompt(engine: ReferenceEngine, chat: Conversation) -> PreparedPrompt:
    prepared = engine.prepare(chat)
    assert isinstance(prepared, PreparedPrompt)
    return prepared


def _before_generate(loaded: LoadedModel, hook: Callable[[int, int], None]) -> None:
    """Calls `hook(rows, width)` with the shape of every batch before it is run."""
    model: Any = loaded.model
    generate = model.generate

    def hooked(*, input_ids: torch.Tensor, **options: Any) -> Any:
        hook(input_ids.shape[0], input_ids.shape[1])
        return generate(input_ids=input_ids, **options)

    model.generate = hooked


def test_p6_non_finite_logits_are_the_error_of_that_conversation_alone(make_folder: Folders) -> None:
    loaded = load_model(str(make_folder(tie_word_embeddings=False)), device="cpu")
    engine = ReferenceEngine(loaded, max_new_tokens=NEW_TOKENS)
    healthy = engine.judge(CHATS)
    poisoned: Conversation = [{"role": "user", "content": "ßßß"}]
    everyday = {token_id for chat in CHATS for token_id in _prompt(engine, chat).token_ids.tolist()}
    embeddings: Any = loaded.model.get_input_embeddings()
    rare = sorted(set(_prompt(engine, poisoned).token_ids.tolist()) - everyday)
    embeddings.weight[rare] = float("nan")
    judged = engine.judge([*CHATS[:3], poisoned, *CHATS[3:]])
    assert judged[3] == Completion.failed("non_finite_logits", prompt_tokens=len(_prompt(engine, poisoned)))
    assert judged[:3] + judged[4:] == healthy


def test_logits_after_an_answers_end_are_no_matter_of_it(early_folder: Path) -> None:
    loaded = load_model(str(early_folder), device="cpu")
    engine = ReferenceEngine(loaded, max_new_tokens=NEW_TOKENS)
    words: list[Conversation] = [[{"role": "user", "content": word}] for word in ["hello", "world", "quick", "brown"]]
    alike = [chat for chat in words if len(_prompt(engine, chat)) == len(_prompt(engine, words[0]))]
    later = next(chat for chat in alike if engine.judge([chat])[0].output_tokens > 3)
    pair = [CHATS[0], later]  # of one length: the only padding is the one after the first one's end
    healthy = engine.judge(pair)
    assert healthy[0].output_tokens == 3

    spoilt = 0

    def spoil(_module: object, _arguments: object, output: Any) -> Any:
        nonlocal spoilt
        if output.logits.shape[0] == 2 and (spoilt := spoilt + 1) > 3:
            output.logits[0] = float("nan")
        return output

    loaded.model.register_forward_hook(spoil)
    assert engine.judge(pair) == healthy
    assert spoilt > 3


def test_a_pass_ends_when_every_answer_has(early_folder: Path) -> None:
    loaded = load_model(str(early_folder), device="cpu")
    engine = ReferenceEngine(loaded, max_new_tokens=NEW_TOKENS)
    steps: list[int] = []
    loaded.model.register_forward_hook(lambda *_: steps.append(1))
    assert engine.judge([CHATS[0]])[0].output_tokens == len(steps) == 3


def test_p6_a_batch_that_does_not_fit_is_judged_in_halves(engine: ReferenceEngine, model_folder: Path) -> None:
    loaded = load_model(str(model_folder), device="cpu", dtype="fp32")
    sizes: list[int] = []

    def short_of_memory(rows: int, _width: int) -> None:
        sizes.append(rows)
        if rows > 2:
            raise torch.OutOfMemoryError("no memory left")

    _before_generate(loaded, short_of_memory)
    assert ReferenceEngine(loaded, max_new_tokens=NEW_TOKENS).judge(CHATS) == engine.judge(CHATS)
    assert sizes == [8, 4, 2, 2, 4, 2, 2]


def test_p9_one_long_prompt_does_not_make_the_others_as_long(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_model(str(model_folder), device="cpu", dtype="fp32")
    shapes: list[tuple[int, int]] = []
    _before_generate(loaded, lambda rows, width: shapes.append((rows, width)))
    engine = ReferenceEngine(loaded, max_new_tokens=NEW_TOKENS)
    expected = engine.judge(CHATS)
    assert len(shapes) == 1
    shapes.clear()
    lengths = sorted(item.prompt_tokens for item in expected)
    monkeypatch.setattr(reference, "_PADDED_TOKENS_PER_PASS", 3 * lengths[2])
    assert engine.judge(CHATS) == expected
    assert all(rows * width <= 3 * lengths[2] or rows == 1 for rows, width in shapes)
    assert shapes[0] == (3, lengths[2])


def test_the_longest_prompt_leaves_room_for_the_longest_answer(model_folder: Path) -> None:
    tokens = _load(model_folder).judge([CHATS[0]])[0].prompt_tokens
    assert _load(model_folder, max_new_tokens=1024 - tokens).judge([CHATS[0]])[0].error is None
    overflow = Completion.failed("context_overflow", prompt_tokens=tokens)
    assert _load(model_folder, max_new_tokens=1025 - tokens).judge([CHATS[0]]) == [overflow]
    assert _load(model_folder, max_prompt_tokens=tokens).judge([CHATS[0]])[0].error is None
    assert _load(model_folder, max_prompt_tokens=tokens - 1).judge([CHATS[0]]) == [overflow]
    with pytest.raises(ValueError, match="max_new_tokens 1024"):
        _load(model_folder, max_new_tokens=1024)


def test_the_identity_says_what_a_verdict_depends_on(engine: ReferenceEngine, model_folder: Path) -> None:
    identity = engine.identity
    assert identity == EngineIdentity(
        model=str(model_folder),
        revision=load_model(str(model_folder), device="cpu").revision,
        prompt_sha256=identity.prompt_sha256,
        engine="reference",
        dtype="float32",
        device="cpu",
    )
    assert len(identity.prompt_sha256) == 64
    assert identity == _load(model_folder).identity
