"""The whole story of one record: decode, fit, judge, parse, decide; every record ends as a verdict or a dead letter.

Does not call the guard itself; `pipelines.judging` does. Knows nothing of Kafka clients or Ray.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pipelines.guard import GuardAnswer, GuardRequest, Judged
from pipelines.guard_parser import Classification, parse_verdict, worst
from pipelines.judging import Judge
from pipelines.length import Fitted, LengthPolicy
from pipelines.policy import Decision, Policy
from schemas.dead_letter import DeadLetter, dead_letter
from schemas.errors import ItemError, TerminalError, UnparsableOutputError
from schemas.event import ChatEvent, Task
from schemas.event_codec import decode_event
from schemas.reasons import Reason
from schemas.record import SourceRecord
from schemas.verdict import AppliedPolicy, Provenance, Scores, Severity, Source, Timing, Usage, Verdict, verdict_id

Outcome = Verdict | DeadLetter
NO_TRACE: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Admitted:
    """A record that is well-formed and fits: what is asked of the guard, one request per window."""

    record: SourceRecord
    event: ChatEvent
    fitted: Fitted
    requests: tuple[GuardRequest, ...]
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Ruling:
    """An outcome, and the extra topics that the policy routes it to."""

    outcome: Outcome
    topics: tuple[str, ...] = ()


class Moderation:
    """Judgement before and after the model.

    Args:
        policy: from classification to action.
        length: what happens to long conversations.
        max_event_bytes: largest record value accepted.
        group: consumer group, named in dead letters.
    """

    def __init__(self, policy: Policy, length: LengthPolicy, *, max_event_bytes: int, group: str) -> None:
        self._policy = policy
        self._length = length
        self._max_event_bytes = max_event_bytes
        self._group = group

    async def process(self, record: SourceRecord, judge: Judge) -> Ruling:
        """Take one record from bytes to its outcome. The stream worker does the same in chunks."""
        admitted = self.admit(record)
        if isinstance(admitted, DeadLetter):
            return Ruling(admitted)
        judged = await judge.judge(admitted.requests)
        while is_mixed(judged):
            judged = await judge.judge(admitted.requests)
        return self.decide(admitted, judged)

    def admit(self, record: SourceRecord, carrier: Mapping[str, str] = NO_TRACE) -> Admitted | DeadLetter:
        """Decode, validate and fit one record.

        Args:
            record: as consumed.
            carrier: W3C trace context that rides along to the GPU batch.
        """
        received_at = datetime.now(UTC)
        try:
            event = decode_event(record, self._max_event_bytes)
            fitted = self._length.fit(event.conversation())
        except TerminalError as error:
            return dead_letter(record, error, group=self._group)
        requests = tuple(
            GuardRequest(conversation, tokens, carrier)
            for conversation, tokens in zip(fitted.conversations, fitted.tokens, strict=True)
        )
        return Admitted(record, event, fitted, requests, received_at)

    def decide(self, admitted: Admitted, judged: Sequence[Judged]) -> Ruling:
        """Parse the answers to one record's requests and apply the tenant's policy.

        `is_mixed(judged)` must be false.
        """
        answers: list[GuardAnswer] = []
        classifications: list[Classification] = []
        try:
            for item in judged:
                answers.append(_answer(item))
                classifications.append(_parse(answers[-1], admitted.event.task))
        except TerminalError as error:
            unparsable = isinstance(error, UnparsableOutputError)
            return Ruling(
                dead_letter(
                    admitted.record,
                    error,
                    group=self._group,
                    attempts=max(item.attempts for item in judged),
                    provenance=judged[0].provenance,
                    raw_output_sha256=_digest(answers[-1].text) if unparsable else None,
                )
            )
        decision = self._policy.decide(worst(classifications), admitted.event.tenant)
        verdict = self._verdict(admitted, classifications, decision, answers, judged[0].provenance)
        return Ruling(verdict, decision.topics)

    def _verdict(
        self,
        admitted: Admitted,
        classifications: Sequence[Classification],
        decision: Decision,
        answers: Sequence[GuardAnswer],
        provenance: Provenance,
    ) -> Verdict:
        classification = worst(classifications)
        record, event, fitted = admitted.record, admitted.event, admitted.fitted
        source = Source(topic=record.topic, partition=record.partition, offset=record.offset)
        policy = self._policy
        worst_at = next(i for i, item in enumerate(classifications) if item.severity is classification.severity)
        scores = answers[worst_at].scores
        return Verdict(
            verdict_id=verdict_id(
                source, record.timestamp_ms, event.event_id, provenance, policy.sha256, self._length.signature
            ),
            event_id=event.event_id,
            conversation_id=event.conversation_id,
            tenant=event.tenant,
            task=event.task,
            severity=classification.severity,
            categories=classification.categories,
            refusal=classification.refusal,
            scores=None if scores is None else _scores(scores),
            action=decision.action,
            policy=AppliedPolicy(
                name=policy.name, version=policy.version, sha256=policy.sha256, treated_as=decision.treated_as
            ),
            source=source,
            provenance=provenance,
            usage=Usage(
                prompt_tokens=sum(answer.prompt_tokens for answer in answers),
                output_tokens=sum(answer.output_tokens for answer in answers),
                windows=len(answers),
                length_policy=fitted.handling,
                characters_dropped=fitted.characters_dropped,
            ),
            timing=Timing(
                received_at=admitted.received_at.isoformat(timespec="milliseconds"),
                judged_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
                queue_ms=max(answer.queue_ms for answer in answers),
                guard_ms=max(answer.guard_ms for answer in answers),
            ),
        )


def is_mixed(judged: Sequence[Judged]) -> bool:
    """True where windows of one record were judged by two models, as can happen while one replaces the other.

    One verdict has one provenance (P7), so such a record has to be judged again.
    """
    return len(judged) > 1 and len({item.provenance for item in judged if item.provenance is not None}) > 1


def _answer(item: Judged) -> GuardAnswer:
    if isinstance(item.result, ItemError):
        raise item.result
    if item.result.error is not None:
        raise ItemError(item.result.error, f"the guard answered {item.result.error} for this item")
    return item.result


def _parse(answer: GuardAnswer, task: Task) -> Classification:
    if not answer.finished:
        raise UnparsableOutputError(
            f"output cut off after {answer.output_tokens} tokens without a stop token", Reason.OUTPUT_CUT_OFF
        )
    return parse_verdict(answer.text, task)


def _digest(text: str) -> str:
    # Whatever was written, also lone surrogates: a digest must not be what stops a worker.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _scores(scores: Mapping[str, Mapping[str, float]]) -> Scores:
    refusal = scores.get("refusal")
    return Scores(
        severity={Severity(label): value for label, value in scores["safety"].items()},
        categories=dict(scores["category"]),
        refusal=None if refusal is None else refusal["Yes"],
    )
