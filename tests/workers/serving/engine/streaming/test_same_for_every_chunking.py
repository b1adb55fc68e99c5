"""A settled verdict depends on the text up to its token, to the last bit: not on chunks, company or eviction."""

from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.workers.serving.engine.streaming.stream_models import asked, judged, pushed, settled
from workers.serving.engine.stream_guard import StreamGuard
from workers.serving.engine.streaming.verdicts import TokenVerdict

pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

WORDS = [
    *(
        "the quick brown fox ",
        "says",
        " hello",
        "it's",
        "'ll",
        "你好世界",
        "。",
        "12",
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        "?!",
    ),
    *("!", "e", "\u0301", "\u0335", "\u0323", "ᄀ", "ᅡ", "ᆨ", "\U0001f600", "\U0001f469\u200d\U0001f467", "\u00a0"),
    *("\x85", "<|im_", "end|>", "<think>", "<|im_start|>assistant\n"),
]
# Long words, whose tokens keep changing until they end.
LETTERS = [*"safetyunobqick", "sa", "content", "assistant", "policy"]
texts = st.lists(
    st.lists(st.sampled_from(WORDS), max_size=8) | st.lists(st.sampled_from(LETTERS), max_size=40),
    min_size=1,
    max_size=6,
).map(lambda parts: "".join(chain.from_iterable(parts)))


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def guards(request: pytest.FixtureRequest, stream_folder: Path) -> tuple[StreamGuard, StreamGuard]:
    """Two guards of one model: one for company, one that judges alone and whole."""
    one, two = (StreamGuard.load(str(stream_folder), device="cpu", dtype=request.param) for _ in range(2))
    return one, two


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answers=st.lists(texts, min_size=1, max_size=4), data=st.data())
def test_p7_chunks_company_and_eviction_change_no_bit(
    guards: tuple[StreamGuard, StreamGuard], answers: list[str], data: Any
) -> None:
    guard, alone = guards
    cuts = [sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8))) for text in answers]
    waiting = [[text[a:b] for a, b in pairwise([0, *cut, len(text)])] for text, cut in zip(answers, cuts, strict=True)]
    sessions = [guard.open(asked(f"question {index}")) for index in range(len(answers))]
    found: list[list[TokenVerdict]] = [[] for _ in answers]
    while any(waiting):
        chosen = data.draw(
            st.lists(st.sampled_from([i for i, rest in enumerate(waiting) if rest]), min_size=1, unique=True)
        )
        pushes = [(sessions[index], waiting[index].pop(0), not waiting[index]) for index in chosen]
        for index, verdicts in zip(chosen, guard.push(pushes), strict=True):
            assert verdicts.error is None
            found[index] += settled(verdicts)
        for index in data.draw(st.lists(st.sampled_from(chosen), max_size=2)):
            guard.evict(sessions[index])
    for session in sessions:
        guard.close(session)

    for index, text in enumerate(answers):
        assert found[index] == judged(alone, asked(f"question {index}"), text)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=texts, share=st.floats(0, 1))
def test_what_is_not_settled_is_judged_as_if_the_text_ended_there(
    guards: tuple[StreamGuard, StreamGuard], text: str, share: float
) -> None:
    guard, alone = guards
    cut = int(len(text) * share)
    session = guard.open(asked())
    first = pushed(guard, session, text[: cut // 2])
    second = pushed(guard, session, text[cut // 2 : cut])
    guard.close(session)

    now = [*settled(first), *second]
    assert [replace(verdict, provisional=False) for verdict in now] == judged(alone, asked(), text[:cut])
    flags = [verdict.provisional for verdict in now]
    assert flags == sorted(flags)


def test_p7_a_guard_that_takes_over_with_the_text_so_far_says_the_same(guards: tuple[StreamGuard, StreamGuard]) -> None:
    guard, other = guards
    text = "the quick brown fox says hello world 你好世界, " * 9
    whole = judged(guard, asked(), text)
    taken_over = judged(other, [*asked(), {"role": "assistant", "content": text[:111]}], text[111:180], text[180:])

    assert taken_over == whole


def test_p7_pages_that_are_too_few_for_all_change_nothing(stream_folder: Path) -> None:
    few = StreamGuard.load(str(stream_folder), device="cpu", dtype="float32", max_pages=64)
    roomy = StreamGuard.load(str(stream_folder), device="cpu", dtype="float32")
    text = "the quick brown fox says hello world! " * 12
    sessions = [few.open(asked(str(index))) for index in range(10)]
    found: list[list[TokenVerdict]] = [[] for _ in sessions]
    for start in range(0, len(text), 150):
        delta, final = text[start : start + 150], start + 150 >= len(text)
        for index, verdicts in enumerate(few.push([(session, delta, final) for session in sessions])):
            found[index] += settled(verdicts)
        assert few.live_pages <= 64

    assert found == [judged(roomy, asked(str(index)), text) for index in range(10)]


def test_a_session_holds_the_pages_of_its_tokens_and_no_more(guard: StreamGuard) -> None:
    session = guard.open(asked())
    verdicts = pushed(guard, session, "the quick brown fox says hello " * 20, final=True)
    tokens = len(session._prompt) + len(verdicts) - 1  # noqa: SLF001

    assert guard.live_pages == tokens // 16 > 5
    assert sum(layer.nbytes for page in session.pages for layer in page.layers) == guard.live_pages * guard.page_bytes
    guard.close(session)
    assert guard.live_pages == 0
