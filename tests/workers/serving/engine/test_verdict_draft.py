"""Drafts: Safe first, then what traffic shows; always a guess, never more than a bounded memory of it."""

import random
import re
import zlib

import pytest

from workers.serving.engine.completion import Task
from workers.serving.engine.verdict_draft import VerdictDrafts
from workers.serving.engine.verdict_format import QWEN3GUARD_GEN

TEXTS = QWEN3GUARD_GEN.texts
TASKS: tuple[Task, ...] = ("prompt", "response")


def _ids(text: str) -> list[int]:
    """One token per word and per line end."""
    return [zlib.crc32(word.encode()) for word in re.findall(r"[^ \n]+|\n", text)]


def _after(drafts: VerdictDrafts, task: Task, text: str) -> list[int]:
    return _ids(text) + list(drafts.after(task, _ids(text)))


def test_the_grammar_is_the_models() -> None:
    assert len(set(TEXTS["prompt"])) == 19
    assert len(set(TEXTS["response"])) == 34
    assert "Safety: Unsafe\nCategories: Jailbreak" in TEXTS["prompt"]
    assert not any("Jailbreak" in text for text in TEXTS["response"])


def test_safe_comes_first() -> None:
    drafts = VerdictDrafts(_ids, TEXTS)
    assert list(drafts.after("prompt", [])) == _ids("Safety: Safe\nCategories: None")
    assert list(drafts.after("response", [])) == _ids("Safety: Safe\nCategories: None\nRefusal: No")


@pytest.mark.parametrize("task", TASKS)
def test_each_verdict_is_drafted_from_its_branches_on(task: Task) -> None:
    drafts = VerdictDrafts(_ids, TEXTS)
    for text in TEXTS[task]:
        ids, passes = _ids(text), 0
        written: list[int] = []
        while written != ids:
            draft = drafts.after(task, written)
            agreed = next((n for n, (a, b) in enumerate(zip(draft, ids[len(written) :], strict=False)) if a != b), None)
            written = ids[: len(written) + (len(draft) if agreed is None else agreed + 1)]
            passes += 1
        assert passes <= (4 if task == "response" else 3)
        assert list(drafts.after(task, ids)) == []


def test_nothing_is_drafted_off_the_grammar() -> None:
    assert list(VerdictDrafts(_ids, TEXTS).after("prompt", _ids("Safety: Perhaps"))) == []


def test_drafts_follow_the_traffic_and_come_back() -> None:
    drafts = VerdictDrafts(_ids, TEXTS)
    safe, other = "Safety: Safe\nCategories: None", "Safety: Unsafe\nCategories: PII"
    drafts.note("prompt", _ids(other))
    assert _after(drafts, "prompt", "") == _ids(safe)
    assert _after(drafts, "prompt", "Safety: Unsafe") == _ids(other)
    for _ in range(40):
        drafts.note("prompt", _ids(other))
    assert _after(drafts, "prompt", "") == _ids(other)
    assert _after(drafts, "response", "") == _ids(f"{safe}\nRefusal: No")
    for _ in range(60):
        drafts.note("prompt", _ids(safe))
    assert _after(drafts, "prompt", "") == _ids(safe)


def test_the_branch_with_most_behind_it_is_taken_not_the_commonest_verdict() -> None:
    drafts = VerdictDrafts(_ids, TEXTS)
    for _ in range(20):
        for text in ["Safety: Safe\nCategories: None", "Safety: Safe\nCategories: None", *TEXTS["prompt"][1:6]]:
            drafts.note("prompt", _ids(text))
    assert _after(drafts, "prompt", "")[:2] == _ids("Safety: Unsafe")


def test_what_is_often_written_off_the_grammar_is_drafted_too() -> None:
    drafts = VerdictDrafts(_ids, TEXTS)
    both = _ids("Safety: Unsafe\nCategories: Violent, PII")
    for _ in range(30):
        drafts.note("prompt", both)
    assert list(drafts.after("prompt", [])) == both


def test_without_adaption_a_draft_never_changes() -> None:
    drafts = VerdictDrafts(_ids, TEXTS, adapts=False)
    for _ in range(100):
        drafts.note("prompt", _ids("Safety: Unsafe\nCategories: PII"))
    assert list(drafts.after("prompt", [])) == _ids("Safety: Safe\nCategories: None")


def test_p9_memory_is_bounded_and_weights_stay_finite() -> None:
    drafts = VerdictDrafts(_ids, TEXTS)
    chooser = random.Random(1)
    for _ in range(20_000):
        drafts.note("prompt", [chooser.randrange(10**6) for _ in range(chooser.randint(0, 100))])
        drafts.note("prompt", _ids("Safety: Unsafe\nCategories: PII"))
    assert _after(drafts, "prompt", "") == _ids("Safety: Unsafe\nCategories: PII")
    assert len(drafts._weights["prompt"]) <= 128  # noqa: SLF001 - nothing else shows how much is kept
