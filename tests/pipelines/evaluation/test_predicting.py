"""Examples to predictions: the parser of live traffic decides, and whatever goes wrong has a reason and no verdict."""

import asyncio
from collections.abc import Sequence

import pytest

from pipelines.evaluation.examples import Label, LabelledExample, Prediction, Verdict
from pipelines.evaluation.predicting import Predictor
from pipelines.fitting.length import LengthRule
from pipelines.fitting.length_policy import JudgedWhole, LengthPolicy
from pipelines.guard import GuardAnswer
from pipelines.isolation import PROBE
from schemas.event import Task
from schemas.reasons import Reason
from schemas.verdict import Severity
from tests.guards.answering_guard import CRASH, AnsweringGuard, judge_without_waits
from tests.guards.scripted_guard import PROVENANCE
from tests.pipelines.judged_records import CONTROVERSIAL, LONG_TEXT, SAFE, UNSAFE, WINDOWS, answer

SCORES = {"safety": {"Safe": 0.25, "Controversial": 0.25, "Unsafe": 0.5}, "category": {"None": 1.0}}


def example(text: str, task: Task = Task.PROMPT, number: int = 1) -> LabelledExample:
    turns = [{"role": "user", "content": text}]
    if task is Task.RESPONSE:
        turns.insert(0, {"role": "user", "content": "q"})
        turns[-1]["role"] = "assistant"
    return LabelledExample(str(number), "labelled", tuple(turns), Label(Severity.SAFE))


def predict(
    examples: Sequence[LabelledExample],
    guard: AnsweringGuard,
    length: LengthRule = JudgedWhole(),  # noqa: B008 - it holds nothing
) -> tuple[list[Prediction], Predictor]:
    predictor = Predictor(judge_without_waits(guard), length, 3)

    async def collect() -> list[Prediction]:
        return [item async for chunk in predictor.predict(iter(examples)) for item in chunk]

    return asyncio.run(collect()), predictor


def test_verdicts_come_in_order_chunk_by_chunk_and_without_text() -> None:
    guard = AnsweringGuard(lambda text: answer(UNSAFE if text.startswith("bad") else SAFE))
    texts = ["bad secret", "fine", "bad", "fine", "fine", "bad", "fine"]
    found, predictor = predict([example(text, number=number) for number, text in enumerate(texts)], guard)
    assert [item.verdict.severity for item in found if item.verdict] == [
        Severity.UNSAFE if text.startswith("bad") else Severity.SAFE for text in texts
    ]
    assert [item.example_id for item in found] == [str(number) for number in range(7)]
    assert guard.calls == [3, 3, 1]
    assert predictor.provenance == PROVENANCE
    assert "secret" not in repr(found)
    assert found[1].sha256 == found[3].sha256 != found[0].sha256


def test_an_output_off_the_grammar_is_no_verdict_and_says_why() -> None:
    said = {
        "cut": answer(SAFE, finished=False),
        "loud": answer("SAFETY: Safe\nCategories: None"),
        "two lines": answer(SAFE),  # a response needs three
        "scores": answer(SAFE, scores={"safety": {"Safe": float("nan"), "Controversial": 0.0, "Unsafe": 0.0}}),
        "long": answer("", error=Reason.CONTEXT_OVERFLOW),
    }
    texts = list(said)
    found, _ = predict(
        [example(text, Task.RESPONSE if text == "two lines" else Task.PROMPT) for text in texts],
        AnsweringGuard(said.__getitem__),
    )
    assert [item.verdict for item in found] == [None] * len(texts)
    assert [item.failure for item in found] == [
        Reason.OUTPUT_CUT_OFF,
        Reason.UNPARSABLE_OUTPUT,
        Reason.UNPARSABLE_OUTPUT,
        Reason.NON_FINITE_LOGITS,
        Reason.CONTEXT_OVERFLOW,
    ]


@pytest.mark.parametrize(("over", "failure"), [(0.0005, None), (0.01, Reason.NON_FINITE_LOGITS)])
def test_a_score_beyond_rounding_is_no_verdict_as_in_live_traffic(over: float, failure: Reason | None) -> None:
    scores = {**SCORES, "safety": {"Safe": -over, "Controversial": 0.0, "Unsafe": 1 + over}}
    (item,), _ = predict([example("x")], AnsweringGuard(lambda _: answer(UNSAFE, scores=scores)))

    assert item.failure is failure
    if item.verdict is not None:
        assert item.verdict.scores == {Severity.SAFE: 0.0, Severity.CONTROVERSIAL: 0.0, Severity.UNSAFE: 1.0}


def test_an_example_that_breaks_its_call_does_not_cost_its_neighbours_their_verdicts() -> None:
    assert PROBE.conversation[-1]["content"] != CRASH
    found, _ = predict([example(text) for text in ("a", CRASH, "b")], AnsweringGuard(lambda _: answer(SAFE)))
    assert [item.failure for item in found] == [None, Reason.INFERENCE_FAILED, None]


def test_scores_and_refusals_are_kept() -> None:
    guard = AnsweringGuard(lambda _: answer(f"{SAFE}\nRefusal: Yes", scores=SCORES))
    (item,), _ = predict([example("sorry", Task.RESPONSE)], guard)
    assert item.verdict == Verdict(
        Severity.SAFE,
        (),
        True,
        {Severity.SAFE: 0.25, Severity.CONTROVERSIAL: 0.25, Severity.UNSAFE: 0.5},
    )


def test_a_conversation_is_judged_whole_unless_the_policy_is_asked_for() -> None:
    guard = AnsweringGuard(lambda _: answer(SAFE))
    predict([example(LONG_TEXT)], guard)
    predict([example(LONG_TEXT)], guard, WINDOWS)
    assert guard.calls[0] == 1
    assert guard.calls[1] > 1


def test_windows_are_judged_as_in_live_traffic() -> None:
    seen: list[str] = []

    def said(text: str) -> GuardAnswer:
        seen.append(text)
        return answer(CONTROVERSIAL, scores=SCORES) if len(seen) == 2 else answer(SAFE)

    (item,), _ = predict([example(LONG_TEXT)], AnsweringGuard(said), WINDOWS)
    assert len(seen) > 2
    assert item.verdict is not None
    assert item.verdict.severity is Severity.CONTROVERSIAL
    assert item.verdict.scores is not None


def test_what_the_length_policy_refuses_is_no_verdict() -> None:
    guard = AnsweringGuard(lambda _: answer(SAFE))
    found, _ = predict([example(LONG_TEXT), example("short")], guard, LengthPolicy("dead_letter", 64))
    assert [item.failure for item in found] == [Reason.TOO_LONG, None]


@pytest.mark.parametrize("count", [0, 3])
def test_nothing_is_asked_for_nothing(count: int) -> None:
    guard = AnsweringGuard(lambda _: answer(SAFE))
    found, predictor = predict([example(LONG_TEXT)] * count, guard, LengthPolicy("dead_letter", 64))
    assert len(found) == count
    assert guard.calls == []
    assert predictor.provenance is None


def test_a_conversation_is_read_as_in_live_traffic_and_one_that_no_producer_could_send_as_it_is() -> None:
    seen: list[str] = []

    def said(text: str) -> GuardAnswer:
        seen.append(text)
        return answer(SAFE)

    half, blank = example("half \ud83d"), example(" ", number=2)
    found, _ = predict([half, blank], AnsweringGuard(said))

    assert seen == ["half \ufffd", " "]
    assert all(item.verdict for item in found)
