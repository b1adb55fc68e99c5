"""Random conversations in random batches; needs hypothesis, which a bare GPU box does not have."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from workers.serving.engine import loading
from workers.serving.engine.completion import Completion, Conversation
from workers.serving.engine.loading import LoadedModel, load_model
from workers.serving.engine.one_pass import OnePassEngine
from workers.serving.engine.reference import ReferenceEngine

pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NEW_TOKENS = 6
WORDS = [
    "hello",
    "kill",
    "how",
    "make",
    "a bomb",
    "你好",
    "。",
    "?",
    "!\n",
    " ",
    "\n\n",
    "e\u0301",
    "😀",
    "<|im_end|>",
    "x",
]
CONTENTS = st.one_of(
    st.lists(st.sampled_from(WORDS), max_size=12).map("".join),
    st.sampled_from(["", " ", "hello", "hello", "Safety: Safe\nCategories: None", "long " * 120]),
)
ROLES = st.sampled_from(
    [
        *[["user"]] * 4,
        ["user", "assistant"],
        ["system", "user"],
        ["system", "user", "assistant"],
        ["user", "assistant", "user"],
        ["user", "assistant", "user", "assistant"],
        ["user", "user"],
    ]
)
CHATS = ROLES.flatmap(
    lambda roles: st.tuples(*[CONTENTS] * len(roles)).map(
        lambda contents: [{"role": role, "content": text} for role, text in zip(roles, contents, strict=True)]
    )
)
QUICK: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}


class _Remembered:
    """The reference's completions, each made once."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._engine = ReferenceEngine(loaded, max_new_tokens=NEW_TOKENS)
        self._known: dict[str, Completion] = {}

    def judge(self, chats: Sequence[Conversation]) -> list[Completion]:
        new = {repr(chat): chat for chat in chats if repr(chat) not in self._known}
        self._known.update(zip(new, self._engine.judge(list(new.values())), strict=True))
        return [self._known[repr(chat)] for chat in chats]


@pytest.fixture(scope="module")
def loaded(model_folder: Path) -> LoadedModel:
    return load_model(str(model_folder), device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def reference(loaded: LoadedModel) -> _Remembered:
    return _Remembered(loaded)


@pytest.fixture(scope="module")
def engine(loaded: LoadedModel) -> OnePassEngine:
    """One engine for all examples: what it has learnt to draft must not matter."""
    return OnePassEngine(loaded, max_new_tokens=NEW_TOKENS, compiled=False)


@settings(max_examples=80, **QUICK)
@given(chats=st.lists(CHATS, max_size=12))
def test_p13_random_batches_get_the_references_judgements(
    engine: OnePassEngine, reference: _Remembered, chats: list[Conversation]
) -> None:
    assert engine.judge(chats) == reference.judge(chats)


@settings(max_examples=4, **QUICK)
@given(chats=st.lists(CHATS, min_size=40, max_size=60), size=st.sampled_from([1, 2, 3, 17, 64, 255, 256]))
def test_p7_any_batch_size_gives_the_same(
    engine: OnePassEngine, reference: _Remembered, chats: list[Conversation], size: int
) -> None:
    many: list[Conversation] = [
        [{**message, "content": f"{message['content']}{n % 7}"} for message in chats[n % len(chats)]]
        for n in range(256)
    ]
    batches = [many[start : start + size] for start in range(0, len(many), size)]
    judged = [completion for batch in batches for completion in engine.judge(batch)]
    assert judged == reference.judge(many)


@pytest.mark.skipif(not (loading.DEMO_FOLDER / "model.safetensors").is_file(), reason="no demo model in this checkout")
@settings(max_examples=15, **QUICK)
@given(chats=st.lists(CHATS, min_size=1, max_size=12))
def test_p13_the_demo_model_writes_the_same_verdicts(demo: Any, chats: list[Conversation]) -> None:
    one_pass, reference = demo
    assert one_pass.judge(chats) == reference.judge(chats)


@pytest.fixture(scope="module")
def demo() -> tuple[OnePassEngine, ReferenceEngine]:
    model = load_model("demo", device="cpu", dtype="fp32")
    return OnePassEngine(model, max_new_tokens=32, compiled=False), ReferenceEngine(model, max_new_tokens=32)
