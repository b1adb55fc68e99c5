"""Labelled examples to predictions, with the guard, the parser and the rule for windows that live traffic has.

Every engine decodes greedily, so a run gives the same verdicts again; nothing here could turn sampling on.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from itertools import islice
from math import isfinite

from pipelines.evaluation.examples import LabelledExample, Prediction, Verdict, conversation_digest
from pipelines.guard import GuardAnswer, GuardRequest, Judged
from pipelines.guard_parser import parse_verdict, worst
from pipelines.judging import Judge
from pipelines.length import LengthPolicy, estimate_tokens
from schemas.errors import ItemError, TerminalError, UnparsableOutputError
from schemas.event import Task
from schemas.reasons import Reason
from schemas.verdict import Provenance, Severity


class Predictor:
    """Asks the guard for verdicts on labelled examples.

    Args:
        judge: gets answers from the guard.
        length: what happens to long conversations; None judges each one whole, as published figures do.
        chunk_size: examples of one guard call.

    Attributes:
        provenance: what judged; None before the first chunk.
    """

    def __init__(self, judge: Judge, length: LengthPolicy | None, chunk_size: int) -> None:
        self._judge = judge
        self._length = length
        self._chunk_size = chunk_size
        self.provenance: Provenance | None = None

    async def predict(self, examples: Iterable[LabelledExample]) -> AsyncIterator[list[Prediction]]:
        """One prediction for each example, in order, chunk by chunk."""
        waiting = iter(examples)
        while chunk := list(islice(waiting, self._chunk_size)):
            asked = [self._requests(example) for example in chunk]
            requests = [request for item in asked if not isinstance(item, TerminalError) for request in item]
            judged = await self._judge.judge(requests)
            if judged and self.provenance is None:
                self.provenance = judged[0].provenance
            answers = iter(judged)
            yield [
                _prediction(example, item if isinstance(item, TerminalError) else [next(answers) for _ in item])
                for example, item in zip(chunk, asked, strict=True)
            ]

    def _requests(self, example: LabelledExample) -> list[GuardRequest] | TerminalError:
        conversation = example.conversation
        if self._length is None:
            tokens = sum(estimate_tokens(turn["content"]) for turn in conversation)
            return [GuardRequest(conversation, tokens, {})]
        try:
            fitted = self._length.fit(conversation)
        except TerminalError as error:
            return error
        return [
            GuardRequest(window, tokens, {}) for window, tokens in zip(fitted.conversations, fitted.tokens, strict=True)
        ]


def _prediction(example: LabelledExample, judged: Sequence[Judged] | TerminalError) -> Prediction:
    outcome = judged.reason if isinstance(judged, TerminalError) else _verdict(judged, example.task)
    return Prediction(
        example.example_id,
        example.benchmark,
        example.task,
        example.language,
        conversation_digest(example.conversation),
        example.label,
        outcome if isinstance(outcome, Verdict) else None,
        None if isinstance(outcome, Verdict) else outcome,
    )


def _verdict(judged: Sequence[Judged], task: Task) -> Verdict | Reason:
    try:
        answers = [_answer(item) for item in judged]
        windows = [parse_verdict(answer.text, task) for answer in answers]
        whole = worst(windows)
        # As in a verdict: the scores of the first window that is as bad as the whole.
        deciding = answers[[window.severity for window in windows].index(whole.severity)]
        scores = None if deciding.scores is None else _scores(deciding.scores)
    except TerminalError as error:
        return error.reason
    return Verdict(whole.severity, tuple(map(str, whole.categories)), whole.refusal, scores)


def _answer(item: Judged) -> GuardAnswer:
    if isinstance(item.result, ItemError):
        raise item.result
    if item.result.error is not None:
        raise ItemError(item.result.error, f"the guard answered {item.result.error} for this item")
    if not item.result.finished:
        raise UnparsableOutputError("output cut off", Reason.OUTPUT_CUT_OFF)
    return item.result


def _scores(scores: Mapping[str, Mapping[str, float]]) -> dict[Severity, float]:
    values = {Severity(label): value for label, value in scores["safety"].items()}
    if not all(map(isfinite, values.values())):
        raise ItemError(Reason.NON_FINITE_LOGITS, "a score is not a probability")
    return {severity: min(1.0, max(0.0, value)) for severity, value in values.items()}
