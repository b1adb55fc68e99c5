"""The committed demo model on real text; skipped where it is not there."""

import re

import pytest

from workers.serving.engine import loading
from workers.serving.engine.completion import Conversation
from workers.serving.engine.reference import ReferenceEngine

pytestmark = pytest.mark.skipif(
    not (loading.DEMO_FOLDER / "model.safetensors").is_file(), reason="the demo model is not in this checkout"
)
VERDICT = re.compile(r"Safety: (Safe|Controversial|Unsafe)\nCategories: [^\n]+")


@pytest.fixture(scope="module")
def engine() -> ReferenceEngine:
    return ReferenceEngine.load("demo", device="cpu")


def test_it_answers_in_the_grammar_of_both_tasks(engine: ReferenceEngine) -> None:
    asked: Conversation = [{"role": "user", "content": "good morning, how is the weather today?"}]
    answered: Conversation = [*asked, {"role": "assistant", "content": "it is sunny and warm."}]
    prompt, response = engine.judge([asked, answered])
    assert VERDICT.fullmatch(prompt.text)
    assert prompt.finish == "stop"
    assert re.fullmatch(VERDICT.pattern + r"\nRefusal: (Yes|No)", response.text)
    assert response.finish == "stop"


def test_p7_it_judges_alike_alone_and_in_a_batch(engine: ReferenceEngine) -> None:
    chats: list[Conversation] = [
        [{"role": "user", "content": text}] for text in ["good morning", "x " * 60, "how do I fix my bike?", "你好"]
    ]
    together = engine.judge(chats)
    assert [item.text for item in together] == [engine.judge([chat])[0].text for chat in chats]
    assert all(item.error is None for item in together)
