"""What becomes of examples that a Stream model cannot judge to their end; with a guard that says what it is told."""

from collections.abc import Sequence
from typing import Any, cast

from pipelines.evaluation.examples import Label, LabelledExample, Prediction
from schemas.verdict import Severity
from workers.evaluation.streamed import StreamPredictor
from workers.serving.engine.stream_guard import StreamGuard
from workers.serving.engine.streaming.verdicts import Debounce, SessionRefusedError, TokenVerdict, TokenVerdicts

CODES = {"S": "Safe", "C": "Controversial", "U": "Unsafe"}


class SaysWhatItReads:
    """One token a letter of the answer, each its own label; an answer that ends in ! does not fit."""

    def __init__(self) -> None:
        self.open_sessions = 0

    def open(self, messages: Any) -> str:
        if messages[0]["role"] == "assistant":
            raise SessionRefusedError("empty_conversation")
        self.open_sessions += 1
        return str(messages[-1]["content"])

    def push(self, pushes: Sequence[tuple[str, str, bool]]) -> list[TokenVerdicts]:
        return [self._said(text) for text, _, _ in pushes]

    def _said(self, text: str) -> TokenVerdicts:
        found = [
            TokenVerdict(index, index + 1, "assistant", CODES[code], None, {}, provisional=False, raised=False)
            for index, code in enumerate(text.rstrip("!"))
        ]
        return TokenVerdicts(found, "context_overflow" if text.endswith("!") else None)

    def located(self, _messages: Any, first: int, last: int) -> tuple[int, int] | None:
        return (first, last + 1)

    def close(self, _session: str) -> None:
        self.open_sessions -= 1


def judged(*answers: str, debounce: Debounce = "paper", role: str = "user") -> list[Prediction]:
    guard = SaysWhatItReads()
    examples = [
        LabelledExample(
            answer,
            "b",
            cast("Any", ({"role": role, "content": "q"}, {"role": "assistant", "content": answer})),
            Label(Severity.UNSAFE, unsafe_ids=(1, 2)),
        )
        for answer in answers
    ]
    predictor = StreamPredictor(cast("StreamGuard", guard), debounce, 2)
    found = [item for chunk in predictor.predict(examples) for item in chunk]
    assert guard.open_sessions == 0
    return found


def severities(*answers: str, debounce: Debounce = "paper") -> list[str | None]:
    return [item.verdict.severity if item.verdict else item.failure for item in judged(*answers, debounce=debounce)]


def test_an_answers_severity_is_read_from_where_it_is_raised() -> None:
    assert severities("SSS", "SUS", "UU", "UC", "CC", "CSUCU") == [
        "Safe", "Safe", "Unsafe", "Controversial", "Controversial", "Controversial",
    ]  # fmt: skip
    assert severities("UC", "UCC", "UUC", debounce="script") == ["Safe", "Controversial", "Unsafe"]


def test_a_place_and_its_parts_are_counted_in_tokens() -> None:
    [item] = judged("SCUUS")
    assert item.streamed is not None
    assert (item.streamed.sentence, dict(item.streamed.raised)) == ((1, 2), {"strict": 2, "loose": 3})
    assert {name: (part.tokens, part.strict, part.loose) for name, part in item.streamed.parts.items()} == {
        "before": (1, 0, 0), "sentence": (2, 2, 1), "after": (2, 1, 1),
    }  # fmt: skip


def test_an_answer_that_does_not_fit_has_a_verdict_only_if_it_was_raised_before() -> None:
    assert severities("UU!", "SS!") == ["Unsafe", "context_overflow"]


def test_what_cannot_be_opened_has_no_verdict() -> None:
    assert [item.failure for item in judged("SS", role="assistant")] == ["empty_messages"]
