"""The port: what every engine that implements it gets, and what a completion without a text looks like."""

from collections.abc import Sequence
from typing import get_args

import numpy as np
import pytest

from workers.serving.engine import completion as port
from workers.serving.engine.completion import Completion, Conversation, Engine, EngineIdentity, PreparedPrompt


class _Lengths(Engine):
    """Judges a conversation by the number of its messages; refuses empty ones."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    @property
    def identity(self) -> EngineIdentity:
        raise NotImplementedError

    def prepare(self, conversation: Conversation) -> PreparedPrompt | Completion:
        if not conversation:
            return Completion.failed(port.EMPTY_CONVERSATION)
        return PreparedPrompt(np.arange(len(conversation)), "prompt")

    def run(self, prompts: Sequence[PreparedPrompt]) -> list[Completion]:
        self.batches.append(len(prompts))
        return [Completion(str(len(prompt)), None, None, len(prompt), 1, "stop") for prompt in prompts]


def test_p6_judge_keeps_order_and_hands_only_the_good_ones_to_the_model() -> None:
    message = {"role": "user", "content": "x"}
    engine = _Lengths()
    judged = engine.judge([[message], [], [message] * 3, [], [message] * 2])
    assert [item.error or item.text for item in judged] == ["1", "empty_conversation", "3", "empty_conversation", "2"]
    assert engine.batches == [3]


def test_an_error_never_comes_with_a_text() -> None:
    failed = Completion.failed(port.CONTEXT_OVERFLOW, prompt_tokens=9)
    assert failed == Completion("", "context_overflow", None, prompt_tokens=9, output_tokens=0, finish=None)


def test_every_error_code_has_its_constant() -> None:
    constants = {value for name, value in vars(port).items() if name.isupper() and isinstance(value, str)}
    assert constants == set(get_args(port.CompletionError))


def test_judgements_and_prompts_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Completion.failed(port.INVALID_TEXT).text = "Safety: Safe"  # type: ignore[misc]  # what is tested
    with pytest.raises((AttributeError, TypeError)):
        Completion.failed(port.INVALID_TEXT).extra = 1  # type: ignore[attr-defined]  # what is tested
