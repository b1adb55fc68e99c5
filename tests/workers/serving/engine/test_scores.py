"""Label scores: the model's own probabilities where it chose a label, and none where nobody asked."""

import pytest
import torch

from tests.workers.serving.engine.random_models import full_logits
from workers.serving.engine import loading
from workers.serving.engine.completion import Conversation, PreparedPrompt
from workers.serving.engine.loading import load_model
from workers.serving.engine.one_pass import OnePassEngine
from workers.serving.engine.scores import LabelScores
from workers.serving.engine.verdict_format import QWEN3GUARD_GEN

QUESTIONS = QWEN3GUARD_GEN.questions
SAFETY_LABELS = QUESTIONS[0].labels
WORDS = ["\n", *(f" {label}" for question in QUESTIONS for label in question.labels_of("prompt"))]
WORDS += [question.lead for question in QUESTIONS]


def _encode(text: str) -> list[int]:
    """A tokenizer that has each lead and each label as one token."""
    ids = []
    while text:
        word = max((word for word in WORDS if text.startswith(word)), key=len)
        ids.append(WORDS.index(word))
        text = text[len(word) :]
    return ids


def _scores(text: str, *, temperature: float = 1.0) -> dict[str, dict[str, float]]:
    reader = LabelScores(_encode, QUESTIONS, temperature)
    written = _encode(text)
    logits = torch.full((len(written), len(reader.token_ids)), 0.0)
    for place, token_id in enumerate(written):
        if token_id in reader.token_ids:
            logits[place, reader.token_ids.index(token_id)] = 3.0
    return reader.of(written, logits, "response" if "Refusal" in text else "prompt")


def test_each_question_answered_has_a_score() -> None:
    scores = _scores("Safety: Unsafe\nCategories: PII\nRefusal: No")
    assert set(scores) == {"safety", "category", "refusal"}
    assert {question: max(by_label, key=by_label.__getitem__) for question, by_label in scores.items()} == {
        "safety": "Unsafe",
        "category": "PII",
        "refusal": "No",
    }
    assert all(sum(by_label.values()) == pytest.approx(1) for by_label in scores.values())
    assert scores["refusal"]["No"] == pytest.approx(torch.tensor([3.0, 0.0]).softmax(-1)[0].item())


def test_a_question_that_was_not_answered_has_none() -> None:
    assert set(_scores("Safety: Safe\nCategories: None")) == {"safety", "category"}
    assert _scores("Safety:") == {}
    assert _scores(" Yes No") == {}


def test_only_prompts_can_be_jailbreaks() -> None:
    assert "Jailbreak" in _scores("Safety: Safe\nCategories: None")["category"]
    assert "Jailbreak" not in _scores("Safety: Safe\nCategories: None\nRefusal: No")["category"]


def test_a_temperature_makes_scores_less_sure_and_changes_no_order() -> None:
    text = "Safety: Unsafe\nCategories: PII"
    plain, warm, hot = (_scores(text, temperature=t)["safety"]["Unsafe"] for t in (1.0, 2.0, 50.0))
    assert plain > warm > hot > 1 / 3


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_wrong_temperature_is_named(temperature: float) -> None:
    with pytest.raises(ValueError, match=r"guard\.score_temperature"):
        LabelScores(_encode, QUESTIONS, temperature)


def test_labels_that_begin_alike_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Safety:.* one first token"):
        LabelScores(lambda text: list(text.encode()), QUESTIONS, 1.0)


@pytest.mark.skipif(not (loading.DEMO_FOLDER / "model.safetensors").is_file(), reason="no demo model in this checkout")
def test_scores_are_the_models_probabilities_and_cost_no_text() -> None:
    loaded = load_model("demo", device="cpu", dtype="fp32")
    plain, scored = OnePassEngine(loaded), OnePassEngine(loaded, score_temperature=1.0)
    asked: Conversation = [{"role": "user", "content": "i will kill you"}]
    chats: list[Conversation] = [[{"role": "user", "content": "hello"}], asked]
    chats.append([*asked, {"role": "assistant", "content": "i can not help with that"}])
    encode = loaded.tokenizer.backend_tokenizer.encode
    for chat, judged, without in zip(chats, scored.judge(chats), plain.judge(chats), strict=True):
        assert (judged.text, without.scores) == (without.text, None)
        assert judged.scores is not None
        prompt = plain.prepare(chat)
        assert isinstance(prompt, PreparedPrompt)
        lead = encode("Safety:").ids
        labels = [encode(f"Safety: {label}").ids[len(lead)] for label in SAFETY_LABELS]
        logits = full_logits(loaded.model, prompt.token_ids.tolist(), [*lead, labels[0]])[-1, labels]
        expected = dict(zip(SAFETY_LABELS, logits.softmax(-1).tolist(), strict=True))
        assert judged.scores["safety"] == pytest.approx(expected, abs=1e-4)
        assert judged.text.startswith(f"Safety: {max(expected, key=expected.__getitem__)}\n")
        assert ("refusal" in judged.scores) == (chat[-1]["role"] == "assistant")
