"""Turns labelled examples into predictions with a Qwen3Guard-Stream model: an answer token by token.

The severity of an answer is read from where it is raised: Unsafe where that happens with Controversial taken for Safe,
Controversial where it happens only with Controversial taken for unsafe. A prompt has that of its closing token.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from pipelines.evaluation.examples import (
    LabelledExample,
    Mode,
    Prediction,
    Streamed,
    TokenCounts,
    Verdict,
    is_unsafe,
)
from schemas.event import Task
from schemas.reasons import Reason
from schemas.verdict import Severity
from workers.serving.engine.stream_guard import StreamGuard
from workers.serving.engine.streaming.session import Session
from workers.serving.engine.streaming.verdicts import (
    SAFE,
    Debounce,
    Raising,
    SessionRefusedError,
    StreamReason,
    TokenVerdict,
    TokenVerdicts,
)

_REASONS: Final[dict[StreamReason, Reason]] = {
    "not_rendered": Reason.NOT_RENDERED,
    "unsupported_role": Reason.UNSUPPORTED_ROLE,
    "empty_conversation": Reason.EMPTY_MESSAGES,
    "invalid_text": Reason.LONE_SURROGATE,
    "context_overflow": Reason.CONTEXT_OVERFLOW,
    "non_finite_logits": Reason.NON_FINITE_LOGITS,
}


class StreamPredictor:
    """Judges examples, several at once.

    Args:
        guard: nobody else uses it.
        debounce: when an answer is raised.
        chunk_size: examples judged together.
    """

    def __init__(self, guard: StreamGuard, debounce: Debounce, chunk_size: int) -> None:
        self._guard = guard
        self._debounce = debounce
        self._chunk_size = chunk_size

    def predict(self, examples: Iterable[LabelledExample]) -> Iterator[list[Prediction]]:
        """One prediction for each example, in order, chunk by chunk."""
        waiting = iter(examples)
        while chunk := list(islice(waiting, self._chunk_size)):
            opened = [self._open(example) for example in chunk]
            sessions = [session for session in opened if not isinstance(session, Reason)]
            verdicts = iter(self._guard.push([(session, "", True) for session in sessions]))
            yield [
                self._prediction(example, session if isinstance(session, Reason) else next(verdicts))
                for example, session in zip(chunk, opened, strict=True)
            ]
            for session in sessions:
                self._guard.close(session)

    def _open(self, example: LabelledExample) -> Session | Reason:
        try:
            return self._guard.open(example.conversation)
        except SessionRefusedError as refused:
            return _REASONS.get(refused.reason, Reason.INFERENCE_FAILED)

    def _prediction(self, example: LabelledExample, found: TokenVerdicts | Reason) -> Prediction:
        verdict: Verdict | None = None
        streamed: Streamed | None = None
        failure = found if isinstance(found, Reason) else None
        if isinstance(found, TokenVerdicts):
            if example.task is Task.PROMPT:
                verdict = _of_prompt(found)
            else:
                answer = [item for item in found if item.role == "assistant"]
                streamed = self._streamed(example, answer)
                verdict = _of_answer(answer, streamed)
            # What overflows may have been raised before; that nothing was says nothing of the rest.
            if found.error is not None and (verdict is None or verdict.severity is Severity.SAFE):
                verdict, failure = None, _REASONS.get(found.error, Reason.INFERENCE_FAILED)
        return Prediction.of(example, verdict, failure, streamed)

    def _streamed(self, example: LabelledExample, answer: Sequence[TokenVerdict]) -> Streamed:
        sentence = None
        if example.label.unsafe_ids is not None:
            characters = self._guard.located(example.conversation, *example.label.unsafe_ids)
            if characters is not None:
                ends = [item.offset for item in answer]
                start, end = characters
                sentence = bisect_right(ends, start), bisect_right(ends, max(start, end - 1))
        return Streamed(
            len(answer), {mode: self._raised_at(answer, mode) for mode in Mode}, sentence, _parts(answer, sentence)
        )

    def _raised_at(self, answer: Sequence[TokenVerdict], mode: Mode) -> int | None:
        raising = Raising(self._debounce)
        for item in answer:
            raising = raising.after(item.risk if is_unsafe(Severity(item.risk), mode) else SAFE)
            if raising.raised:
                return item.index
        return None


def _of_prompt(found: Sequence[TokenVerdict]) -> Verdict | None:
    for item in found:
        if item.role == "user":
            scores = {Severity(name): share for name, share in item.probabilities["risk"].items()}
            return Verdict(Severity(item.risk), _categories(item), None, scores)
    return None


def _of_answer(answer: Sequence[TokenVerdict], streamed: Streamed) -> Verdict:
    first = streamed.raised[Mode.STRICT]
    if first is None:
        return Verdict(Severity.SAFE, (), None, None)
    severity = Severity.CONTROVERSIAL if streamed.raised[Mode.LOOSE] is None else Severity.UNSAFE
    return Verdict(severity, _categories(answer[first]), None, None)


def _categories(item: TokenVerdict) -> tuple[str, ...]:
    return () if item.category is None else (item.category,)


def _parts(answer: Sequence[TokenVerdict], sentence: tuple[int, int] | None) -> dict[str, TokenCounts]:
    if sentence is None:
        return {"whole": _counted(answer)}
    first, last = sentence
    parts = {"before": answer[:first], "sentence": answer[first : last + 1], "after": answer[last + 1 :]}
    return {name: _counted(part) for name, part in parts.items()}


def _counted(part: Sequence[TokenVerdict]) -> TokenCounts:
    risks = [Severity(item.risk) for item in part]
    strict, loose = (sum(is_unsafe(risk, mode) for risk in risks) for mode in (Mode.STRICT, Mode.LOOSE))
    return TokenCounts(len(risks), strict, loose)
