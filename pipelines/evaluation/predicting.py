"""Turns labelled examples into predictions: each is judged like a record of live traffic, and read from its verdict.

Every engine decodes greedily, so a run gives the same verdicts again; nothing here could turn sampling on.
"""

from collections.abc import AsyncIterator, Iterable
from itertools import count, islice

from pipelines.evaluation.examples import LabelledExample, Prediction, Verdict
from pipelines.fitting.length import LengthRule
from pipelines.judging import Judge
from pipelines.lanes.batch import judge_batch
from pipelines.moderation import Admitted, Moderation, Outcome
from pipelines.policy import load_policy
from schemas.dead_letter import DeadLetter
from schemas.errors import EventError
from schemas.event import ChatEvent, read_event
from schemas.record import SourceRecord
from schemas.verdict import Provenance
from schemas.verdict_writer import VerdictText


class Predictor:
    """Asks the guard for verdicts on labelled examples.

    Args:
        judge: gets answers from the guard.
        length: what happens to long conversations; `JudgedWhole` for what published figures do.
        chunk_size: examples of one guard call.
    """

    def __init__(self, judge: Judge, length: LengthRule, chunk_size: int) -> None:
        self._judge = judge
        # The built-in policy, because a prediction holds no action; texts are judged as published figures judge them.
        self._moderation = Moderation(load_policy(None), length, max_event_bytes=0, group="eval", structure=None)
        self._chunk_size = chunk_size

    @property
    def provenance(self) -> Provenance | None:
        """What judged; None before the first answer."""
        return self._judge.provenance

    async def predict(self, examples: Iterable[LabelledExample]) -> AsyncIterator[list[Prediction]]:
        """One prediction for each example, in order, chunk by chunk."""
        waiting, numbers = iter(examples), count()
        while chunk := list(islice(waiting, self._chunk_size)):
            batch = [self._admit(example, number) for example, number in zip(chunk, numbers, strict=False)]
            rulings = await judge_batch(batch, self._moderation, self._judge)
            yield [_prediction(example, ruling.outcome) for example, ruling in zip(chunk, rulings, strict=True)]

    def _admit(self, example: LabelledExample, number: int) -> Admitted | DeadLetter:
        try:
            event = read_event({"event_id": str(number), "messages": example.conversation})
        except EventError:  # a benchmark has conversations that no producer could send, and its figures count them
            event = ChatEvent.model_construct(event_id=str(number), messages=example.conversation)
        return self._moderation.admit_event(SourceRecord("eval", 0, number, 0, None, None, ()), event)


def _prediction(example: LabelledExample, outcome: Outcome) -> Prediction:
    if isinstance(outcome, DeadLetter):
        return Prediction.of(example, None, outcome.reason)
    return Prediction.of(example, _verdict(outcome), None)


def _verdict(outcome: VerdictText) -> Verdict:
    said = outcome.read()
    scores = None if said.scores is None else said.scores.severity
    return Verdict(said.severity, tuple(map(str, said.categories)), said.refusal, scores)
