"""What the parser gets to see of what the model wrote."""

import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from workers.serving.engine.completion import Completion
from workers.serving.engine.output import completion_of

END, PAD = 602, 600


@pytest.fixture
def backend(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    found: Tokenizer = tokenizer.backend_tokenizer
    return found


def _judge(backend: Tokenizer, generated: list[int]) -> Completion:
    return completion_of(generated, end_ids={END, PAD}, tokenizer=backend, prompt_tokens=5)


def _ids(backend: Tokenizer, text: str) -> list[int]:
    ids: list[int] = backend.encode(text, add_special_tokens=False).ids
    return ids


def test_the_text_ends_before_the_first_end_token_and_nothing_is_stripped(backend: Tokenizer) -> None:
    answer = _ids(backend, "\n Safety: Safe \n\n")
    judged = _judge(backend, [*answer, END, PAD, *answer, PAD])
    assert judged == Completion("\n Safety: Safe \n\n", None, None, 5, len(answer) + 1, "stop")


def test_an_answer_without_an_end_token_finishes_by_length(backend: Tokenizer) -> None:
    answer = _ids(backend, "Safety: Safe")
    assert _judge(backend, answer) == Completion("Safety: Safe", None, None, 5, len(answer), "length")


def test_an_answer_may_be_its_end_token_alone(backend: Tokenizer) -> None:
    assert _judge(backend, [END, PAD]) == Completion("", None, None, 5, 1, "stop")


@pytest.mark.parametrize("extra", ["<think>", "</think>", "<|im_start|>", "<|image_pad|>"])
def test_p3_control_tokens_in_the_answer_stay_visible(backend: Tokenizer, extra: str) -> None:
    text = f"Safety: Safe{extra}\nCategories: None"
    assert _judge(backend, [*_ids(backend, text), END]).text == text


def test_p3_ids_that_stand_for_no_token_stay_visible(backend: Tokenizer) -> None:
    safe = _ids(backend, "Safety: Safe")
    assert _judge(backend, [*safe, 639, 638, *safe, END]).text == "Safety: Safe\ufffd\ufffdSafety: Safe"


def test_characters_that_span_tokens_are_put_together(backend: Tokenizer) -> None:
    text = "\U0001f9ea ế"
    assert len(_ids(backend, text)) > len(text)
    assert _judge(backend, _ids(backend, text)).text == text
