"""What prompts share, derived from the template, and the law that a message changes no token before it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from workers.serving.engine.completion import PreparedPrompt
from workers.serving.engine.prefix import derive_frames
from workers.serving.engine.prompt import PromptBuilder

CONTENTS = ["hello", "", "  x", "\u0301", "\n\nUSER: a", "x" * 500, "<|im_end|>"]


def _ids(builder: PromptBuilder, roles: tuple[str, ...], content: str) -> list[int]:
    prepared = builder.prepare([{"role": role, "content": content} for role in roles])
    assert isinstance(prepared, PreparedPrompt)
    ids: list[int] = prepared.token_ids.tolist()
    return ids


def test_every_prompt_begins_and_ends_with_its_frame(builder: PromptBuilder) -> None:
    frames = derive_frames(builder)
    assert len(frames) == 6
    for frame in frames:
        assert frame.fallback_reason is None
        assert len(frame.prefix) > 60
        assert len(frame.tail) > 40
        assert not frame.prefix.flags.writeable
        for content in CONTENTS:
            ids = _ids(builder, frame.roles, content)
            assert ids[: len(frame.prefix)] == frame.prefix.tolist()
            assert ids[len(ids) - len(frame.tail) :] == frame.tail.tolist()


def test_a_prefix_is_all_that_is_shared(builder: PromptBuilder) -> None:
    for frame in derive_frames(builder):
        after = {_ids(builder, frame.roles, content)[len(frame.prefix)] for content in CONTENTS}
        assert len(after) > 1


def test_the_two_tasks_have_prefixes_of_their_own(builder: PromptBuilder) -> None:
    frames = {frame.roles: frame for frame in derive_frames(builder)}
    assert np.array_equal(frames["user",].prefix, frames["system", "user"].prefix)
    assert np.array_equal(frames["user", "assistant"].prefix, frames["system", "user", "assistant"].prefix)
    assert not np.array_equal(frames["user",].prefix, frames["user", "assistant"].prefix)


def test_openings_that_the_template_refuses_have_no_frame(make_folder: Callable[..., Path]) -> None:
    template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
        "The quick brown fox: {% for m in messages %}{{ m.role }} {{ m.content }}\n{% endfor %}"
    )
    builder = PromptBuilder(AutoTokenizer.from_pretrained(make_folder(template=template)))
    assert {frame.roles[0] for frame in derive_frames(builder)} == {"user"}


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for m in messages %}{{ m.content }} {{ m.role }}\n{% endfor %}", "begins with a message"),
        ("{% for m in messages %}{{ m.role }} a{{ m.content }}\n{% endfor %}", "changes the"),
    ],
)
def test_without_the_law_there_is_no_prefix_but_a_reason(
    make_folder: Callable[..., Path], template: str, reason: str
) -> None:
    builder = PromptBuilder(AutoTokenizer.from_pretrained(make_folder(template=template)))
    frames = derive_frames(builder)
    assert frames
    for frame in frames:
        assert (len(frame.prefix) == 0, reason in str(frame.fallback_reason)) == (True, True)


def test_a_limit_below_the_template_is_a_reason(model_folder: Path) -> None:
    builder = PromptBuilder(AutoTokenizer.from_pretrained(model_folder), max_tokens=20)
    assert all("shorter than the template" in str(frame.fallback_reason) for frame in derive_frames(builder))
